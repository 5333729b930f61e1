-- What ESPs report of messages, and how unknown outcomes were dealt with.

-- An event waits for its job's row where that is not there yet, or in the hands of a worker: `due_at` says when to look
-- again. Null: it is applied, or given up on (`applied_at` tells the two apart).
alter table sluice.event
    add column attempt integer,
    add column category text,
    add column provider_message_id text,
    add column applied_at timestamptz,
    add column due_at timestamptz;

-- Small: an event leaves it within seconds, but for those of jobs that nobody knows.
create index event_due on sluice.event (due_at) where due_at is not null;

-- Which reports are known already. Not partitioned like `event`, since an ESP repeats itself across midnight.
create table sluice.event_id (
    esp         text collate "C" not null,
    id          text collate "C" not null,
    received_at timestamptz not null default now(),
    primary key (esp, id)
);

-- For ageing out.
create index event_id_received_at on sluice.event_id using brin (received_at) with (pages_per_range = 32, autosummarize = on);

-- One row each time that a job left `unknown` (or was sent again) other than by its own result. Never a recipient.
create table sluice.resolution (
    id         bigint generated always as identity primary key,
    job_id     text collate "C" not null,
    tenant     text not null,
    -- The attempt in doubt.
    attempt    integer not null,
    before     text not null,
    -- The state after, or `resend`.
    verdict    text not null,
    -- `webhook:ESP`, `cli:USER`.
    resolved_by text not null,
    note       text,
    created_at timestamptz not null default clock_timestamp()
);

create index resolution_job_id on sluice.resolution (job_id);
