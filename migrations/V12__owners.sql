-- Whose jobs wait in each line: a walk from owner to owner, so that tenants and campaigns take turns there too. It also finds a
-- campaign that is woken, so `pending_campaign` goes: a parked job costs no further index. Older replicas wake a campaign by
-- reading this one from end to end, and release by `pending_line` as before.
--
-- Without nulls, so that it can be walked from value to value, and so that what is asked by owner is never looked for in
-- `pending_line`.
create index pending_owner on sluice.pending
    ((coalesce(limit_key, '')) collate "C", tenant collate "C", (coalesce(campaign, '')) collate "C",
     (coalesce(first_seen, created_at)))
    where due_at is null;

drop index sluice.pending_campaign;
