-- Another spacing lets each stretch of free slots begin earlier, or end later, than at the old one, as far as the slots beside it
-- that are used leave room. Two stretches that were less than a slot apart (the tail of a limit that is leased together with
-- others need not begin where the last lease ended, and the slot behind such a gap was given back) so reached into each other,
-- and what lies between was leased twice: at the end of a brake several slots too many. It is free once. The arithmetic is that of
-- the crate sluice-policy (spaced.rs), and a test compares the two.
create or replace function sluice.regrid(pairs bigint[], old_ns bigint, new_ns bigint, tat_ns bigint) returns bigint[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    kept bigint[] := '{}';
    hole int := 1;
    first_ns bigint;
    end_ns bigint;
    slots bigint;
    free_from_ns bigint := -9223372036854775808;
begin
    while hole < cardinality(pairs) loop
        first_ns := pairs[hole];
        slots := pairs[hole + 1];
        hole := hole + 2;
        -- One after the other: a stretch alone would lose a slot at each end.
        while hole < cardinality(pairs) and pairs[hole] = first_ns + slots * old_ns loop
            slots := slots + pairs[hole + 1];
            hole := hole + 2;
        end loop;
        end_ns := least(first_ns + slots * old_ns, tat_ns);
        first_ns := greatest(first_ns + new_ns - old_ns, free_from_ns);
        slots := greatest(end_ns - first_ns, 0) / new_ns;
        if slots > 0 then
            kept := kept || array[first_ns, slots];
            free_from_ns := first_ns + slots * new_ns;
        end if;
    end loop;
    return kept;
end
$$;
