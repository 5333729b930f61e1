-- What is given back of a lease at another spacing lapses, although the arrival time is where that lease left it: of a slot at
-- half the rate it lies two spacings on, as that of one more slot at the full rate does, which was then free once more.
-- The same is in the crate sluice-policy (gcra.rs), and a test compares the two.

-- That of V4, by which replicas of V4 give back.
create or replace function sluice.give_back(keys text[], counts bigint[], spacings_ns bigint[], marks bigint[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    unused record;
begin
    perform from sluice.limit_gcra s where s.key = any (keys) order by s.key for update;
    for unused in
        select * from unnest(keys, counts, spacings_ns, marks) with ordinality as u (key, count, spacing, mark, n)
        order by n
    loop
        if unused.spacing is null then
            update sluice.limit_count t
            set used = greatest(t.used - unused.count, 0)
            where t.key = unused.key and t.bucket_ns = unused.mark;
        else
            update sluice.limit_gcra s
            set tat_ns = s.tat_ns - unused.count * unused.spacing,
                used = greatest(s.used - unused.count, 0)
            where s.key = unused.key and s.tat_ns = unused.mark and s.spacing_ns = unused.spacing;
        end if;
    end loop;
end
$$;

-- That of V5, by which all others do.
create or replace function sluice.give_back_slots(
    keys text[],
    counts bigint[],
    spacings_ns bigint[],
    are_spaced boolean[],
    marks bigint[],
    of_unused bigint[],
    openings_ns bigint[],
    at_ns bigint default null
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    holes_max constant int := 64;
    unused record;
    opening int := 1;
    opens bigint;
    hole int;
    pairs bigint[];
    tat bigint;
    is_current boolean;
    returned bigint;
begin
    perform from sluice.limit_gcra s where s.key = any (keys) order by s.key for update;
    if at_ns is null then
        at_ns := (extract(epoch from clock_timestamp()) * 1000000)::bigint * 1000;
    end if;
    for unused in
        select *
        from unnest(keys, counts, spacings_ns, are_spaced, marks)
            with ordinality as u (key, slots, spacing, is_spaced, mark, n)
        order by n
    loop
        if unused.is_spaced then
            -- What an old replica has leased since at another spacing began another grid.
            select s.holes, s.tat_ns, s.grid = unused.mark and s.hole_spacing_ns = s.spacing_ns
            into pairs, tat, is_current
            from sluice.limit_gcra s
            where s.key = unused.key;

            returned := 0;
            while of_unused[opening] <= unused.n loop
                opens := openings_ns[opening];
                opening := opening + 1;
                continue when of_unused[opening - 1] < unused.n
                    or is_current is not true or opens < at_ns or opens >= tat;
                hole := cardinality(pairs) / 2;
                while hole > 0 and pairs[2 * hole - 1] >= opens loop
                    hole := hole - 1;
                end loop;
                pairs := pairs[: 2 * hole] || array[opens, 1] || pairs[2 * hole + 1 :];
                returned := returned + 1;
            end loop;
            if returned > 0 then
                update sluice.limit_gcra s
                set holes = pairs[greatest(cardinality(pairs) - 2 * holes_max, 0) + 1 :],
                    used = greatest(s.used - returned, 0)
                where s.key = unused.key;
            end if;
        elsif unused.spacing is null then
            update sluice.limit_count t
            set used = greatest(t.used - unused.slots, 0)
            where t.key = unused.key and t.bucket_ns = unused.mark;
        else
            update sluice.limit_gcra s
            set tat_ns = s.tat_ns - unused.slots * unused.spacing,
                used = greatest(s.used - unused.slots, 0)
            where s.key = unused.key and s.tat_ns = unused.mark and s.spacing_ns = unused.spacing;
        end if;
    end loop;
end
$$;
