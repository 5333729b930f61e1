-- The fleet-wide state of every limit, and the one function that leases slots from it.
-- All times are whole nanoseconds of this database's clock. The arithmetic is that of the crate sluice-policy
-- (gcra.rs, counted.rs), and a test compares the two.

-- One row a key; for spaced limits and buckets the theoretical arrival time, for counted limits only the lock.
create table sluice.limit_gcra (
    key    text collate "C" primary key,
    tat_ns bigint not null default 0
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);

-- Slots leased by sub-bucket; `bucket_ns` is where the sub-bucket starts.
create table sluice.limit_count (
    key       text collate "C" not null,
    bucket_ns bigint not null,
    used      bigint not null,
    primary key (key, bucket_ns)
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);

-- Leases up to wants[i] slots under keys[i]; no key twice. One row for each i (`position`, from 1).
--
-- A counted limit has quotas[i] and bucket_sizes_ns[i] (and look_backs[i]), every other has spacings_ns[i], bursts[i],
-- graces_ns[i] and horizons_ns[i]; what does not apply is null. Of the slots, `open_now` are open at the instant of
-- the lease; `then_count` more open `then_in_ns` after it and `spacing_ns` apart; each closes `grace_ns` after it
-- opened. `next_in_ns` is when the next slot opens, if the limit held some back.
--
-- Rows are locked in key order before the clock is read, so that two callers neither deadlock nor go back in time.
create function sluice.lease(
    keys text[],
    wants bigint[],
    spacings_ns bigint[],
    bursts bigint[],
    graces_ns bigint[],
    horizons_ns bigint[],
    quotas bigint[],
    bucket_sizes_ns bigint[],
    look_backs bigint[],
    at_ns bigint default null
) returns table (
    "position" bigint,
    open_now bigint,
    then_in_ns bigint,
    then_count bigint,
    spacing_ns bigint,
    grace_ns bigint,
    next_in_ns bigint
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    insert into sluice.limit_gcra (key)
    select k from unnest(keys) as k order by k collate "C"
    on conflict (key) do nothing;

    perform from sluice.limit_gcra s where s.key = any (keys) order by s.key for update;

    if at_ns is null then
        at_ns := (extract(epoch from clock_timestamp()) * 1000000)::bigint * 1000;
    end if;

    return query
    with wish as materialized (
        select *
        from unnest(keys, wants, spacings_ns, bursts, graces_ns, horizons_ns, quotas, bucket_sizes_ns, look_backs)
            with ordinality as w (key, want, spacing, burst, grace, horizon, quota, bucket_size, look_back, n)
    ),

    -- Spaced limits and token buckets.
    arrival as (
        select w.*, greatest(s.tat_ns, at_ns) as base
        from wish w join sluice.limit_gcra s on s.key = w.key
        where w.quota is null
    ),
    opening as (
        select a.*, a.base - (a.burst - 1) * a.spacing as open from arrival a
    ),
    fitting as (
        select o.*,
            case when o.open > at_ns + o.horizon then 0
                 else least(o.want, (at_ns + o.horizon - o.open) / o.spacing + 1) end as granted
        from opening o
    ),
    gcra as materialized (
        select f.*,
            case when f.open > at_ns then 0
                 else least(f.granted, (at_ns - f.open) / f.spacing + 1) end as opened
        from fitting f
    ),
    moved as (
        update sluice.limit_gcra s
        set tat_ns = g.base + g.granted * g.spacing
        from gcra g
        where s.key = g.key and g.granted > 0
    ),

    -- Counts over sub-buckets.
    window_of as (
        select w.*, at_ns / w.bucket_size * w.bucket_size as bucket,
            (at_ns / w.bucket_size - w.look_back) * w.bucket_size as oldest
        from wish w
        where w.quota is not null
    ),
    spent as (
        select w.*, c.used, c.first
        from window_of w
        cross join lateral (
            select coalesce(sum(c.used), 0)::bigint as used,
                min(c.bucket_ns) filter (where c.used > 0) as first
            from sluice.limit_count c
            where c.key = w.key and c.bucket_ns >= w.oldest
        ) c
    ),
    counted as materialized (
        select s.*, least(s.want, greatest(s.quota - s.used, 0)) as granted from spent s
    ),
    charged as (
        insert into sluice.limit_count as t (key, bucket_ns, used)
        select c.key, c.bucket, c.granted from counted c where c.granted > 0
        on conflict (key, bucket_ns) do update set used = t.used + excluded.used
    ),
    forgotten as (
        delete from sluice.limit_count t
        using window_of w
        where t.key = w.key and t.bucket_ns < w.oldest
    )

    select g.n, g.opened,
        g.open + g.opened * g.spacing - at_ns, g.granted - g.opened, g.spacing, g.grace,
        case when g.granted < g.want then g.open + g.granted * g.spacing - at_ns end
    from gcra g
    union all
    select c.n, c.granted,
        0::bigint, 0::bigint, 0::bigint, c.bucket + c.bucket_size - 1 - at_ns,
        case when c.granted < c.want then
            case when c.granted > 0 then least(c.first, c.bucket) else coalesce(c.first, c.bucket) end
            + (c.look_back + 1) * c.bucket_size - at_ns
        end
    from counted c;
end
$$;
