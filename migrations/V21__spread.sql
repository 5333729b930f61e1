-- A limit of many slots a second was leased in blocks of slots one after the other, all of which close again one grace later. So
-- with four replicas, or a hundred domains with a limit each, nearly every job found none open and waited for a lease of its own.
-- Slots for jobs that are yet to come are spread over the time in which they come: some of each of the next frames, somewhat less than a grace long.
-- The arithmetic is that of the crate sluice-policy (spaced.rs), and a test compares the two.

-- As `lease_runs` of V14 behind `heed_clock`, with one more column for each want: `laters`, how many of the jobs that are not
-- transactional are yet to come.
create function sluice.lease_spread(
    counts bigint[],
    urgents bigint[],
    laters bigint[],
    reserved_permilles bigint[],
    of_wants bigint[],
    keys text[],
    spacings_ns bigint[],
    bursts bigint[],
    graces_ns bigint[],
    horizons_ns bigint[],
    further_ns bigint[],
    windows_ns bigint[],
    quotas bigint[],
    bucket_sizes_ns bigint[],
    look_backs bigint[],
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
    leased_at_ns bigint
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    holes_max constant int := 64;
    tries_max constant int := 64;
    run_least constant int := 8;
    -- Elements of `free` for each limit: as many stretches, and two more for a moment.
    stride constant int := 132;

    -- Slots for jobs that are yet to come are spread over so many frames, and of so many slots at least.
    frames constant int := 6;
    frame_least constant int := 8;
    -- No lease has a slot that opens so long after it, as in `heed_clock`.
    ahead_max constant bigint := 7000000000;

    limits_in_all int := coalesce(cardinality(keys), 0);
    distinct_keys bigint := limits_in_all;
    found bigint;

    -- The states of the keys in order.
    own_keys text[];
    tats bigint[];
    spacings bigint[];
    bursts_then bigint[];
    oweds bigint[];
    windows bigint[];
    useds bigint[];
    befores bigint[];
    grids bigint[];
    hole_lists sluice.hole_list[];
    is_touched boolean[];

    -- The want at hand: limit l of it is element first_limit + l of the arguments.
    first_limit int := 0;
    limits int;
    at_key int[];
    tat bigint[];
    reach bigint[];
    slots bigint[];
    holes int[];
    cursors int[];
    free bigint[];
    widest bigint;
    width bigint;
    frame bigint;
    later bigint;
    wanted bigint;
    leased bigint;
    is_short boolean;
    ahead bigint;
    latest bigint;
    instant bigint;
    closes bigint;
    stretch bigint;
    taken bigint;
    pace bigint;
    stretches bigint[];
    look_back bigint[];

    -- One limit of it.
    j int;
    k int;
    base int;
    hole int;
    shortest int;
    spacing bigint;
    from_ns bigint;
    opens bigint;
    owed bigint;
    is_edited boolean;
    skipped bigint;
    behind bigint;
    pairs bigint[];
begin
    found := (select count(*) from sluice.limit_gcra s where s.key = any (keys));
    if found < limits_in_all then
        distinct_keys := (select count(distinct k) from unnest(keys) as k);
    end if;
    -- Again where housekeeping has removed a row in between, or the clock has stepped back. Rows that are not there yet are made
    -- before any is locked: others who make them too may hold the locks.
    loop
        if found < distinct_keys then
            insert into sluice.limit_gcra (key)
            select k from unnest(keys) as k order by k collate "C"
            on conflict (key) do nothing;
        end if;

        select array_agg(s.key), array_agg(s.tat_ns), array_agg(s.spacing_ns), array_agg(s.burst), array_agg(s.owed_ns),
            array_agg(s.window_no), array_agg(s.used), array_agg(s.used_before),
            array_agg(s.grid + case when s.hole_spacing_ns = s.spacing_ns then 0 else 1 end),
            array_agg(row(case when s.hole_spacing_ns = s.spacing_ns then s.holes else '{}' end)::sluice.hole_list),
            array_agg(false), max(case when s.spacing_ns <> 0 and s.burst <> 0 then s.tat_ns - s.burst * s.spacing_ns end)
        into own_keys, tats, spacings, bursts_then, oweds, windows, useds, befores, grids, hole_lists, is_touched, latest
        from (
            select * from sluice.limit_gcra s where s.key = any (keys) order by s.key for update
        ) s;
        found := coalesce(cardinality(own_keys), 0);
        continue when found < distinct_keys;

        leased_at_ns := coalesce(at_ns, (extract(epoch from clock_timestamp()) * 1000000)::bigint * 1000);
        exit when latest is null or latest <= leased_at_ns + ahead_max;
        perform sluice.heed_clock(keys, leased_at_ns);
    end loop;
    at_ns := leased_at_ns;

    -- Spaced limits.
    for want in 1 .. coalesce(cardinality(counts), 0) loop
        limits := 0;
        while first_limit + limits < limits_in_all and of_wants[first_limit + limits + 1] = want loop
            limits := limits + 1;
        end loop;
        if limits = 0 or bursts[first_limit + 1] is not null or quotas[first_limit + 1] is not null then
            first_limit := first_limit + limits;
            continue;
        end if;

        -- A new spacing makes a new grid, and what has passed is gone.
        at_key := array_fill(0, array[limits]);
        tat := array_fill(0::bigint, array[limits]);
        reach := tat;
        slots := tat;
        stretches := tat;
        holes := at_key;
        free := array_fill(0::bigint, array[limits * stride]);
        width := null;
        frame := null;
        pace := 1;
        for l in 1 .. limits loop
            j := first_limit + l;
            k := array_position(own_keys, keys[j]);
            at_key[l] := k;
            spacing := spacings_ns[j];
            pairs := (hole_lists[k]).pairs;
            opens := greatest(tats[k], at_ns);
            is_edited := spacings[k] <> 0 and (spacings[k] <> spacing or bursts_then[k] > 1);
            if is_edited or oweds[k] > 0 then
                select a.tat_ns, a.owed_ns
                into opens, owed
                from sluice.arrive(tats[k], oweds[k], spacings[k], bursts_then[k], spacing, 1, at_ns) a;
                oweds[k] := owed;
            end if;
            if is_edited then
                grids[k] := grids[k] + 1;
                pairs := case when bursts_then[k] > 1 then '{}'
                              else sluice.regrid(pairs, spacings[k], spacing, opens) end;
            end if;
            spacings[k] := spacing;
            bursts_then[k] := 1;
            tat[l] := opens;
            is_touched[k] := true;
            width := least(width, graces_ns[j]);
            -- What opens at the beginning of a frame is open for some time after its end, and a lease reaches over all of them.
            frame := least(frame, graces_ns[j] / 3 * 2, horizons_ns[j] / (frames + 1));
            pace := greatest(pace, spacing);

            hole := 1;
            while hole < cardinality(pairs) and pairs[hole] < at_ns loop
                skipped := least((at_ns - pairs[hole] + spacing - 1) / spacing, pairs[hole + 1]);
                if skipped < pairs[hole + 1] then
                    pairs[hole] := pairs[hole] + skipped * spacing;
                    pairs[hole + 1] := pairs[hole + 1] - skipped;
                    exit;
                end if;
                hole := hole + 2;
            end loop;
            holes[l] := (cardinality(pairs) - hole + 1) / 2;
            if holes[l] > 0 then
                base := (l - 1) * stride;
                free[base + 1 : base + 2 * holes[l]] := pairs[hole : ];
            end if;
        end loop;
        -- All replicas have the same frames, so that what is left of one stays in one piece.
        frame := case when frame >= pace * frame_least then frame end;
        -- Wide enough to be hit, and narrow enough that slots of limits with the same grace mostly meet. A limit alone
        -- meets nobody.
        width := case when limits > 1 then width / 3 end;
        look_back := reach;
        for l in 1 .. limits loop
            j := first_limit + l;
            reach[l] := case when limits > 1 then graces_ns[j] - width else 0 end;
            -- Slots of a faster limit that go in step are not the oldest: they would close before the others are far along.
            look_back[l] := case when pace > spacings_ns[j] and width / (pace - spacings_ns[j]) >= run_least
                                 then 0 else reach[l] end;
        end loop;

        "position" := want;
        opens_in_ns := '{}';
        spacing_ns := '{}';
        "count" := '{}';
        grace_ns := '{}';
        parts_ns := '{}';
        marks := '{}';
        next_in_ns := null;
        next_urgent_in_ns := null;
        held_by := 0;
        leased := 0;
        is_short := false;

        -- First for transactional jobs, then for the others that are there; then, in each frame, for an equal part of those to come.
        wanted := counts[want] - least(urgents[want], counts[want]);
        later := case when frame is null then 0 else least(laters[want], wanted) end;
        for class in 1 .. 2 + frames loop
            wanted := case
                when class = 1 then least(urgents[want], counts[want])
                when class = 2 then counts[want] - least(urgents[want], counts[want]) - later
                else (later + 2 + frames - class) / (3 + frames - class)
            end;
            continue when wanted = 0;
            if class > 2 then
                later := later - wanted;
            end if;
            widest := 0;
            for l in 1 .. limits loop
                ahead := horizons_ns[first_limit + l];
                if class = 1 then
                    ahead := ahead + further_ns[first_limit + l];
                end if;
                widest := greatest(widest, ahead);
            end loop;
            instant := case when class > 2 then (at_ns / frame + class - 2) * frame else at_ns end;
            -- Stretches before these have no slot any more that opens late enough.
            cursors := array_fill(1, array[limits]);

            <<taking>>
            while wanted > 0 loop
                -- The first instant at which every limit has a free slot that is open.
                for try in 1 .. tries_max + 1 loop
                    exit taking when try > tries_max;
                    latest := instant;
                    for l in 1 .. limits loop
                        base := (l - 1) * stride;
                        spacing := spacings_ns[first_limit + l];
                        -- Of limits with the same rate some two slots always meet within one spacing.
                        from_ns := instant - case when class > 2 then least(look_back[l], 2 * pace) else look_back[l] end;
                        hole := cursors[l];
                        while hole <= holes[l]
                            and free[base + 2 * hole - 1] + (free[base + 2 * hole] - 1) * spacing < from_ns
                        loop
                            hole := hole + 1;
                        end loop;
                        cursors[l] := hole;
                        if hole <= holes[l] then
                            opens := free[base + 2 * hole - 1];
                            stretch := free[base + 2 * hole];
                        else
                            opens := tat[l];
                            stretch := null;
                        end if;
                        if opens < from_ns then
                            skipped := (from_ns - opens + spacing - 1) / spacing;
                            opens := opens + skipped * spacing;
                            stretch := stretch - skipped;
                        end if;
                        -- The tail need not begin where the last lease ended.
                        if limits > 1 and opens > instant + reach[l] and instant >= tat[l] then
                            opens := instant;
                        end if;
                        slots[l] := opens;
                        stretches[l] := stretch;
                        latest := greatest(latest, opens);
                    end loop;
                    exit taking when latest > at_ns + widest;
                    exit when limits = 1 or latest = instant;
                    instant := latest;
                end loop;

                if limits = 1 then
                    spacing := spacings_ns[first_limit + 1];
                    taken := least(wanted, stretch, (at_ns + widest - latest) / spacing + 1);
                    instant := latest + taken * spacing;
                    closes := latest + graces_ns[first_limit + 1];
                else
                    -- From here they go on in step, as long as all are open for long enough.
                    spacing := pace;
                    taken := least(wanted, (at_ns + widest - latest) / pace + 1);
                    for l in 1 .. limits loop
                        j := first_limit + l;
                        taken := least(taken, stretches[l]);
                        if pace > spacings_ns[j] then
                            taken := least(taken,
                                1 + greatest(slots[l] + graces_ns[j] - latest - 2 * width, 0) / (pace - spacings_ns[j]));
                        end if;
                    end loop;
                    instant := latest + (taken - 1) * pace;
                    closes := null;
                    for l in 1 .. limits loop
                        j := first_limit + l;
                        closes := least(closes,
                            slots[l] + graces_ns[j] - (taken - 1) * (pace - spacings_ns[j]));
                    end loop;
                end if;
                opens_in_ns := opens_in_ns || (latest - at_ns);
                spacing_ns := spacing_ns || spacing;
                "count" := "count" || taken;
                grace_ns := grace_ns || (closes - latest);
                parts_ns := parts_ns || slots;
                leased := leased + taken;
                wanted := wanted - taken;

                -- Take it of each.
                for l in 1 .. limits loop
                    base := (l - 1) * stride;
                    spacing := spacings_ns[first_limit + l];
                    opens := slots[l];
                    hole := cursors[l];
                    if opens >= tat[l] then
                        skipped := (opens - tat[l]) / spacing;
                        if skipped > 0 then
                            holes[l] := holes[l] + 1;
                            free[base + 2 * holes[l] - 1] := tat[l];
                            free[base + 2 * holes[l]] := skipped;
                        end if;
                        tat[l] := opens + taken * spacing;
                    else
                        skipped := (opens - free[base + 2 * hole - 1]) / spacing;
                        behind := free[base + 2 * hole] - skipped - taken;
                        if skipped > 0 and behind > 0 then
                            if hole < holes[l] then
                                free[base + 2 * hole + 3 : base + 2 * holes[l] + 2]
                                    := free[base + 2 * hole + 1 : base + 2 * holes[l]];
                            end if;
                            holes[l] := holes[l] + 1;
                            free[base + 2 * hole] := skipped;
                            hole := hole + 1;
                        end if;
                        if behind > 0 then
                            free[base + 2 * hole - 1] := opens + taken * spacing;
                            free[base + 2 * hole] := behind;
                        elsif skipped > 0 then
                            free[base + 2 * hole] := skipped;
                            hole := hole + 1;
                        else
                            if hole < holes[l] then
                                free[base + 2 * hole - 1 : base + 2 * holes[l] - 2]
                                    := free[base + 2 * hole + 1 : base + 2 * holes[l]];
                            end if;
                            holes[l] := holes[l] - 1;
                        end if;
                    end if;
                    if holes[l] > holes_max then
                        -- The shortest stretch goes; of equal ones the first.
                        shortest := 1;
                        for other in 2 .. holes[l] loop
                            if free[base + 2 * other] < free[base + 2 * shortest] then
                                shortest := other;
                            end if;
                        end loop;
                        if shortest <= holes_max then
                            free[base + 2 * shortest - 1 : base + 2 * holes_max]
                                := free[base + 2 * shortest + 1 : base + 2 * holes_max + 2];
                        end if;
                        holes[l] := holes_max;
                        if shortest < hole then
                            hole := hole - 1;
                        end if;
                    end if;
                    cursors[l] := hole;
                end loop;
            end loop;
            if class > 2 then
                later := later + wanted;
            else
                is_short := is_short or wanted > 0;
            end if;
        end loop;
        is_short := is_short or later > 0;

        for l in 1 .. limits loop
            j := first_limit + l;
            k := at_key[l];
            base := (l - 1) * stride;
            if is_short then
                opens := case when holes[l] > 0 then free[base + 1] else tat[l] end;
                if next_in_ns is null or opens - at_ns > next_in_ns then
                    next_in_ns := opens - at_ns;
                    next_urgent_in_ns := next_in_ns;
                    held_by := l - 1;
                end if;
            end if;
            marks := marks || grids[k];
            tats[k] := tat[l];
            instant := at_ns / greatest(windows_ns[j], 1);
            if instant <> windows[k] then
                befores[k] := case when instant = windows[k] + 1 then useds[k] else 0 end;
                windows[k] := instant;
                useds[k] := 0;
            end if;
            useds[k] := useds[k] + leased;
            pairs := free[base + 1 : base + 2 * holes[l]];
            hole_lists[k] := row(pairs)::sluice.hole_list;
        end loop;
        return next;
        first_limit := first_limit + limits;
    end loop;

    if true = any (is_touched) then
        update sluice.limit_gcra s
        set tat_ns = u.tat, spacing_ns = u.spacing, window_no = u.window_no, used = u.used, used_before = u.used_before,
            holes = u.holes, grid = u.grid, hole_spacing_ns = u.spacing, burst = 1, owed_ns = u.owed
        from unnest(own_keys, tats, spacings, oweds, windows, useds, befores, grids, hole_lists, is_touched)
            as u (key, tat, spacing, owed, window_no, used, used_before, grid, holes, is_touched)
        where s.key = u.key and u.is_touched
            and (s.tat_ns, s.spacing_ns, s.burst, s.owed_ns, s.window_no, s.used, s.used_before, s.grid, s.hole_spacing_ns,
                    s.holes)
                is distinct from (u.tat, u.spacing, 1, u.owed, u.window_no, u.used, u.used_before, u.grid, u.spacing,
                    u.holes);
    end if;
    if not exists (select from unnest(bursts, quotas) as o (burst, quota) where o.burst is not null or o.quota is not null)
    then
        return;
    end if;

    -- Buckets whose terms are others now, or that owe. `lease_slots` of V5 has nothing left to move then; it begins another
    -- grid where the spacing of the free slots is not this one.
    is_edited := false;
    for j in 1 .. limits_in_all loop
        continue when bursts[j] is null;
        k := array_position(own_keys, keys[j]);
        is_edited := is_edited or spacings[k] <> spacings_ns[j] or bursts_then[k] <> bursts[j]
            or (oweds[k] > 0 and tats[k] < at_ns);
    end loop;
    if is_edited then
        update sluice.limit_gcra s
        set (tat_ns, owed_ns) = (
                select a.tat_ns, a.owed_ns
                from sluice.arrive(s.tat_ns, s.owed_ns, s.spacing_ns, s.burst, w.spacing, w.burst, at_ns) a
            ),
            spacing_ns = w.spacing,
            burst = w.burst,
            hole_spacing_ns = case when s.spacing_ns = 0 then w.spacing
                                   when s.burst in (0, w.burst) then s.hole_spacing_ns
                                   else 0 end
        from unnest(keys, spacings_ns, bursts) as w (key, spacing, burst)
        where s.key = w.key and w.burst is not null
            and (s.spacing_ns <> w.spacing or s.burst <> w.burst or (s.owed_ns > 0 and s.tat_ns < at_ns));
    end if;

    -- Buckets and counts, under the locks and at the instant of this lease. Wants without a limit are passed over there.
    return query
    select l.*
    from (
        select array_agg(w.n order by w.i) as of_wants, array_agg(w.key order by w.i) as keys,
            array_agg(w.spacing order by w.i) as spacings_ns, array_agg(w.burst order by w.i) as bursts,
            array_agg(w.grace order by w.i) as graces_ns, array_agg(w.horizon order by w.i) as horizons_ns,
            array_agg(w.further order by w.i) as further_ns, array_agg(w.window_size order by w.i) as windows_ns,
            array_agg(w.quota order by w.i) as quotas, array_agg(w.bucket_size order by w.i) as bucket_sizes_ns,
            array_agg(w.look_back order by w.i) as look_backs
        from unnest(of_wants, keys, spacings_ns, bursts, graces_ns, horizons_ns, further_ns, windows_ns, quotas,
                bucket_sizes_ns, look_backs)
            with ordinality
            as w (n, key, spacing, burst, grace, horizon, further, window_size, quota, bucket_size, look_back, i)
        where w.burst is not null or w.quota is not null
    ) o
    cross join lateral sluice.lease_slots(counts, urgents, reserved_permilles, o.of_wants, o.keys, o.spacings_ns, o.bursts,
        o.graces_ns, o.horizons_ns, o.further_ns, o.windows_ns, o.quotas, o.bucket_sizes_ns, o.look_backs, at_ns) l;
end
$$;

-- What older replicas ask for, and bundles: nothing is spread.
create or replace function sluice.lease_runs(
    counts bigint[],
    urgents bigint[],
    reserved_permilles bigint[],
    of_wants bigint[],
    keys text[],
    spacings_ns bigint[],
    bursts bigint[],
    graces_ns bigint[],
    horizons_ns bigint[],
    further_ns bigint[],
    windows_ns bigint[],
    quotas bigint[],
    bucket_sizes_ns bigint[],
    look_backs bigint[],
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
    leased_at_ns bigint
)
language sql
set search_path = pg_catalog, pg_temp
as $$
    select *
    from sluice.lease_spread(counts, urgents, array_fill(0::bigint, array[cardinality(counts)]), reserved_permilles, of_wants, keys,
        spacings_ns, bursts, graces_ns, horizons_ns, further_ns, windows_ns, quotas, bucket_sizes_ns, look_backs, at_ns)
$$;

drop function sluice.lease_runs_ahead(bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[], bigint[], bigint[], bigint[],
    bigint[], bigint[], bigint[], bigint[], bigint);
