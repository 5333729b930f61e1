-- When a job in line under a limit need not be sent any more. Written for jobs in line alone; of those that were parked before,
-- and those that old replicas park, it is not known, and they are found to have expired when their turn comes, as before.
alter table sluice.pending add column expires_at timestamptz;

create index pending_expires on sluice.pending (expires_at)
    where due_at is null and limit_key is not null and expires_at is not null;
