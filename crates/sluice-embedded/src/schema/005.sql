-- Attempts that were given up on because their worker counted as lost, and whose answer came after all: that takes their
-- place in `attempt`, and that the job was in doubt stays on record here. A table beside `attempt`, so that a process of
-- before may go on.
create table attempt_lost (
    job_id text not null,
    attempt integer not null,
    esp text not null,
    outcome text not null,
    category text,
    detail text,
    started_at integer not null,
    finished_at integer not null,
    primary key (job_id, attempt)
) strict, without rowid;
