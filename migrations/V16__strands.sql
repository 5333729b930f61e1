-- Jobs in line by lane, too: a lane that is full is passed over as a whole, however many of its jobs are first in line. Before,
-- an owner's jobs were looked through up to a bound, and what waited behind so many of one lane was never found.
--
-- It takes the place of `pending_owner`, which older replicas also find: what they ask for is a prefix of this one, and sorted then.
-- All of the table at once: what is taken for the first index would be in the way of a relay's batch, and that in the way of the
-- second.
lock table sluice.pending in access exclusive mode;

create index pending_strand on sluice.pending
    ((coalesce(limit_key, '')) collate "C", tenant collate "C", (coalesce(campaign, '')) collate "C",
     (pool || '.' || class || '.' || group_name) collate "C", (coalesce(first_seen, created_at)))
    where due_at is null;

drop index sluice.pending_owner;
