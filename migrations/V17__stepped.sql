-- A clock that steps back (a failover to a host whose clock is behind) stopped spaced limits and buckets for as long as the step:
-- the arrival time lay that far ahead. No lease reaches further ahead than seven seconds, so a bucket that was just spent by such a
-- lease is the most that can stand against a limit; whatever is more, the clock has made. Free slots before it are those of a grid
-- that is over. The arithmetic is that of the crate sluice-policy (gcra.rs), and a test compares the two.

create function sluice.heed_clock(keys text[], at_ns bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Five seconds of a horizon, one for transactional jobs, half a one of lead, and some to spare.
    ahead_max constant bigint := 7000000000;
begin
    if not exists (
        select from sluice.limit_gcra s
        where s.key = any (keys) and s.spacing_ns <> 0 and s.burst <> 0
            and s.tat_ns > at_ns + ahead_max + s.burst * s.spacing_ns)
    then
        return;
    end if;
    -- All of them, in the order in which a lease locks them.
    perform from sluice.limit_gcra s where s.key = any (keys) order by s.key for update;
    update sluice.limit_gcra s
    set tat_ns = at_ns + ahead_max + s.burst * s.spacing_ns, holes = '{}', grid = s.grid + 1
    where s.key = any (keys) and s.spacing_ns <> 0 and s.burst <> 0
        and s.tat_ns > at_ns + ahead_max + s.burst * s.spacing_ns;
end
$$;

-- What V14 has made leases as it did, behind that.
alter function sluice.lease_runs(bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[], bigint[], bigint[], bigint[],
    bigint[], bigint[], bigint[], bigint[], bigint) rename to lease_runs_ahead;

create function sluice.lease_runs(
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
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform sluice.heed_clock(keys, coalesce(at_ns, (extract(epoch from clock_timestamp()) * 1000000)::bigint * 1000));
    return query
    select l.*
    from sluice.lease_runs_ahead(counts, urgents, reserved_permilles, of_wants, keys, spacings_ns, bursts, graces_ns,
        horizons_ns, further_ns, windows_ns, quotas, bucket_sizes_ns, look_backs, at_ns) l;
end
$$;
