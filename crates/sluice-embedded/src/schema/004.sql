-- What ESPs report of messages, and how unknown outcomes were dealt with.

-- `due_at` says when to look again for the job of an event that could not be applied; null: it is applied, or given up on
-- (`applied_at` tells the two apart).
create table event (
    id integer primary key autoincrement,
    job_id text not null,
    tenant text not null,
    kind text not null,
    esp text not null,
    provider_event_id text not null,
    attempt integer,
    category text,
    detail text,
    provider_message_id text,
    occurred_at integer not null,
    received_at integer not null,
    applied_at integer,
    due_at integer,
    unique (esp, provider_event_id)
) strict;
create index event_job on event (job_id);
create index event_due on event (due_at) where due_at is not null;

-- One row each time that a job left `unknown` (or was sent again) other than by its own result.
create table resolution (
    id integer primary key autoincrement,
    job_id text not null,
    tenant text not null,
    attempt integer not null,
    before text not null,
    verdict text not null,
    resolved_by text not null,
    note text,
    created_at integer not null
) strict;
create index resolution_job on resolution (job_id);
