-- With a limit for each domain nearly every job needs a lease of its own, and each went over the limits of the ESP too, one
-- want after the other, with the row of the ESP locked. Wants of one slot that have all their limits in common but one are
-- leased as one: what they share once, for all of them, and each one's own limit, if it is fresh, takes its slot at one of these
-- instants, all in one statement. The arithmetic is that of the crate sluice-policy (bundle.rs), and a test compares the two.

-- A row for each bundle: the lease of what its wants share, and who of them had a fresh limit, as numbers among all wants (from 1),
-- with the grids of these limits. In this order they have the slots. Whoever is not in there has nothing, and is to be leased for by
-- `lease_runs`.
create function sluice.lease_bundles(
    -- One element for each bundle.
    urgents boolean[],
    -- One for each limit that the wants of a bundle share, the bundles in order.
    of_bundles bigint[],
    keys text[],
    spacings_ns bigint[],
    graces_ns bigint[],
    horizons_ns bigint[],
    further_ns bigint[],
    windows_ns bigint[],
    -- One for each want, the bundles in order; no key is there twice.
    own_bundles bigint[],
    own_keys text[],
    own_spacings_ns bigint[],
    own_windows_ns bigint[],
    at_ns bigint default null
) returns table (
    "position" bigint,
    opens_in_ns bigint[],
    spacing_ns bigint[],
    "count" bigint[],
    grace_ns bigint[],
    parts_ns bigint[],
    next_in_ns bigint,
    next_urgent_in_ns bigint,
    held_by bigint,
    marks bigint[],
    leased_at_ns bigint,
    fresh bigint[],
    grids bigint[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    all_keys text[] := keys || own_keys;
    distinct_keys bigint := (select count(distinct k) from unnest(all_keys) as k);
    bundles int := coalesce(cardinality(urgents), 0);
    locked bigint;
    none bigint[] := array_fill(null::bigint, array[coalesce(cardinality(keys), 0)]);

    -- The wants whose limit is fresh.
    numbers bigint[];
    bundles_of bigint[];
    fresh_keys text[];
    spacings bigint[];
    window_nos bigint[];
    windows bigint[];
    useds bigint[];
    befores bigint[];
    fresh_grids bigint[];

    -- How many each bundle has, and when their slots open.
    counts bigint[];
    opens bigint[] := '{}';
    openings bigint[];
    lease record;
    first_of int := 1;
    members int;
begin
    -- Again where housekeeping has removed a row in between. Rows are locked in the order of their keys, as everywhere.
    loop
        if (select count(*) from sluice.limit_gcra s where s.key = any (all_keys)) < distinct_keys then
            insert into sluice.limit_gcra (key)
            select k from unnest(all_keys) as k order by k collate "C"
            on conflict (key) do nothing;
        end if;

        perform from sluice.limit_gcra s where s.key = any (all_keys) order by s.key for update;
        get diagnostics locked = row_count;
        exit when locked >= distinct_keys;
    end loop;

    if at_ns is null then
        at_ns := (extract(epoch from clock_timestamp()) * 1000000)::bigint * 1000;
    end if;

    select array_agg(f.i), array_agg(f.bundle), array_agg(f.key), array_agg(f.spacing), array_agg(f.window_no),
        array_agg(f.window_then), array_agg(f.used), array_agg(f.used_before), array_agg(f.grid)
    into numbers, bundles_of, fresh_keys, spacings, window_nos, windows, useds, befores, fresh_grids
    from (
        select o.i, o.bundle, o.key, o.spacing, at_ns / greatest(o.window_size, 1) as window_no, s.window_no as window_then,
            s.used, s.used_before, s.grid
        from unnest(own_bundles, own_keys, own_spacings_ns, own_windows_ns) with ordinality
            as o (bundle, key, spacing, window_size, i)
        join sluice.limit_gcra s on s.key = o.key
        where s.tat_ns <= at_ns and s.owed_ns = 0 and s.hole_spacing_ns = s.spacing_ns
            and (s.spacing_ns = 0 or (s.spacing_ns = o.spacing and s.burst <= 1))
        order by o.i
    ) f;

    select array_agg((select count(*) from unnest(bundles_of) as f where f = b) order by b)
    into counts
    from generate_series(1, bundles) as b;

    for lease in
        select b as bundle, l.*
        from generate_series(1, bundles) as b
        left join sluice.lease_runs(
            counts,
            array(select case when u then c else 0 end from unnest(urgents, counts) with ordinality as o (u, c, i) order by i),
            array_fill(0::bigint, array[bundles]),
            of_bundles, keys, spacings_ns, none, graces_ns, horizons_ns, further_ns, windows_ns, none, none, none, at_ns) l
            on l."position" = b
        order by b
    loop
        members := counts[lease.bundle];
        if lease."position" is null then
            -- They share nothing, so all are open at once.
            openings := array_fill(0::bigint, array[members]);
        else
            openings := array(
                select r.opens + slot * r.spacing
                from unnest(lease.opens_in_ns, lease.spacing_ns, lease."count") with ordinality as r (opens, spacing, slots, i)
                cross join generate_series(0, r.slots - 1) as slot
                order by r.i, slot);
        end if;
        opens := opens || openings || array_fill(null::bigint, array[members - cardinality(openings)]);

        "position" := lease.bundle;
        opens_in_ns := coalesce(lease.opens_in_ns, '{}');
        spacing_ns := coalesce(lease.spacing_ns, '{}');
        "count" := coalesce(lease."count", '{}');
        grace_ns := coalesce(lease.grace_ns, '{}');
        parts_ns := coalesce(lease.parts_ns, '{}');
        next_in_ns := lease.next_in_ns;
        next_urgent_in_ns := lease.next_urgent_in_ns;
        held_by := coalesce(lease.held_by, 0);
        marks := coalesce(lease.marks, '{}');
        leased_at_ns := at_ns;
        fresh := coalesce(numbers[first_of : first_of + members - 1], '{}');
        grids := coalesce(fresh_grids[first_of : first_of + members - 1], '{}');
        return next;
        first_of := first_of + members;
    end loop;

    -- What lies between now and its slot stays free.
    update sluice.limit_gcra s
    set tat_ns = at_ns + u.opens + u.spacing, spacing_ns = u.spacing, hole_spacing_ns = u.spacing, burst = 1,
        window_no = u.window_no, used = 1 + case when u.is_same_window then u.used else 0 end,
        used_before = case when u.is_same_window then u.used_before when u.is_next_window then u.used else 0 end,
        holes = case when u.opens < u.spacing then '{}' else array[at_ns, u.opens / u.spacing] end
    from (
        select f.*, f.window_no = f.window_then as is_same_window, f.window_no = f.window_then + 1 as is_next_window
        from unnest(fresh_keys, opens, spacings, window_nos, windows, useds, befores)
            as f (key, opens, spacing, window_no, window_then, used, used_before)
    ) u
    where s.key = u.key and u.opens is not null;
end
$$;
