-- When a job in line under a limit need not be sent any more. Written for jobs in line alone.
alter table pending add column expires_at integer;
create index pending_expires on pending (expires_at)
    where due_at is null and limit_key is not null and expires_at is not null;
