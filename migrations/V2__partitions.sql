-- Daily partitions of `attempt` and `event`: made ahead, dropped whole.

-- Makes the partitions of today and the `days_ahead` days after it; answers how many are new.
-- ATTACH takes a lock that lets inserts into other partitions go on, where CREATE .. PARTITION OF does not.
create function sluice.make_partitions(days_ahead integer) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '3s'
as $$
declare
    today date := (clock_timestamp() at time zone 'UTC')::date;
    parent text;
    part text;
    day date;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtextextended('sluice.partitions', 0));
    foreach parent in array array['attempt', 'event'] loop
        for offset_days in 0 .. greatest(days_ahead, 0) loop
            day := today + offset_days;
            part := format('%s_p%s', parent, to_char(day, 'YYYYMMDD'));
            continue when to_regclass(format('sluice.%I', part)) is not null;
            begin
                execute format('create table sluice.%I (like sluice.%I including all)', part, parent);
                execute format(
                    'alter table sluice.%I attach partition sluice.%I for values from (%L) to (%L)',
                    parent, part,
                    to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00',
                    to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00'
                );
                made := made + 1;
            exception when check_violation then
                -- The default partition already holds rows of that day: they stay there, so does the day.
                raise notice 'rows of % stay in the default partition', part;
            end;
        end loop;
    end loop;
    return made;
end
$$;

-- Drops the partitions that ended more than `keep_days` days ago; answers how many there were.
create function sluice.drop_partitions(keep_days integer) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '3s'
as $$
declare
    oldest date := (clock_timestamp() at time zone 'UTC')::date - greatest(keep_days, 1);
    part record;
    dropped integer := 0;
begin
    perform pg_advisory_xact_lock(hashtextextended('sluice.partitions', 0));
    for part in
        select c.relname as name
        from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        where i.inhparent in ('sluice.attempt'::regclass, 'sluice.event'::regclass)
          and c.relname ~ '_p[0-9]{8}$'
          and to_date(right(c.relname, 8), 'YYYYMMDD') < oldest
        order by c.relname
    loop
        execute format('drop table sluice.%I', part.name);
        dropped := dropped + 1;
    end loop;
    delete from sluice.attempt_default where started_at < oldest at time zone 'UTC';
    delete from sluice.event_default where received_at < oldest at time zone 'UTC';
    return dropped;
end
$$;
