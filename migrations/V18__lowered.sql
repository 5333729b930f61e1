-- A brake on a token bucket makes it a bucket of one, and the end of the brake goes by when the last slot of that opened: one spacing
-- before the arrival time. Where the slot that filled was partly spent that was earlier than now, and the part was forgotten: up to
-- a slot too many for each brake. It counts as a whole one, that opened now. The arithmetic is that of the crate sluice-policy
-- (gcra.rs), and a test compares the two.
create or replace function sluice.arrive(
    inout tat_ns bigint,
    inout owed_ns bigint,
    old_spacing_ns bigint,
    old_burst bigint,
    new_spacing_ns bigint,
    new_burst bigint,
    at_ns bigint
)
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    owed_max constant bigint := 4611686018427387904;
    last_ns bigint;
    since_ns bigint;
    next_ns bigint;
    full_ns bigint;
begin
    if old_burst = 0 then
        old_burst := new_burst;
    end if;
    if old_spacing_ns <> 0 and (old_spacing_ns <> new_spacing_ns or old_burst <> new_burst) then
        last_ns := tat_ns - old_burst * old_spacing_ns;
        since_ns := case when old_burst = 1 then least(last_ns, at_ns) else at_ns end;
        next_ns := greatest(last_ns, since_ns) + new_spacing_ns;
        full_ns := since_ns + least(
            div(greatest(tat_ns + owed_ns - since_ns, 0)::numeric * new_spacing_ns + old_spacing_ns - 1, old_spacing_ns),
            owed_max)::bigint;
        if last_ns > at_ns or (old_burst > 1 and new_burst = 1 and full_ns > at_ns) then
            full_ns := greatest(full_ns, next_ns);
        end if;
        tat_ns := least(full_ns, greatest(next_ns, at_ns) + (new_burst - 1) * new_spacing_ns);
        owed_ns := full_ns - tat_ns;
    end if;
    if tat_ns < at_ns then
        owed_ns := greatest(owed_ns - (at_ns - tat_ns), 0);
        tat_ns := at_ns;
    end if;
end
$$;
