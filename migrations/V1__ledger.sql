-- The ledger: what happened to every job, and what waits. Times are the database's own.
-- Text keys use the "C" collation, so that every replica locks rows in the same order whatever the locale.

create schema if not exists sluice;

-- One row a job. Nothing that changes is indexed, so that updates stay on the page (HOT).
create table sluice.job (
    id                  text collate "C" primary key,
    tenant              text not null,
    campaign            text,
    class               text not null,
    pool                text not null,
    recipient           text not null,
    state               text not null,
    attempts            integer not null,
    esp                 text,
    provider_message_id text,
    category            text,
    detail              text,
    updated_at          timestamptz not null default now(),
    created_at          timestamptz not null default now(),
    -- The claim: who holds it, the claim call that took it, and until when.
    worker              text,
    claim_token         bigint,
    deadline            timestamptz,
    -- Tells the same body from another under the same id.
    fingerprint         bigint,
    -- The job was `unknown` once and was sent again.
    resent              boolean not null default false
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);

-- Finds old rows for ageing out without a scan; `created_at` never changes, so it costs no HOT update.
create index job_created_at on sluice.job using brin (created_at) with (pages_per_range = 32, autosummarize = on);

-- One row a try, by day. `started_at` is in the key because the partition key has to be.
create table sluice.attempt (
    job_id              text collate "C" not null,
    tenant              text not null,
    attempt             integer not null,
    esp                 text not null,
    outcome             text not null,
    category            text,
    detail              text,
    provider_message_id text,
    started_at          timestamptz not null,
    finished_at         timestamptz not null,
    worker              text,
    primary key (job_id, attempt, started_at)
) partition by range (started_at);

create table sluice.attempt_default partition of sluice.attempt default;

-- What ESPs report after acceptance, by day of receipt.
create table sluice.event (
    job_id            text collate "C",
    tenant            text not null,
    kind              text not null,
    esp               text not null,
    provider_event_id text,
    occurred_at       timestamptz not null,
    received_at       timestamptz not null default now(),
    detail            text
) partition by range (received_at);

create index event_job_id on sluice.event (job_id);

create table sluice.event_default partition of sluice.event default;

-- Everything that is not due yet, with its body.
create table sluice.pending (
    job_id      text collate "C" primary key,
    tenant      text not null,
    campaign    text,
    pool        text not null,
    class       text not null,
    domain      text not null,
    -- Null: held until an operator or an event says so.
    due_at      timestamptz,
    reason      text not null,
    limit_key   text,
    -- What goes into the next publication.
    attempt     integer not null,
    resend      boolean not null default false,
    first_seen  timestamptz,
    faulted     text[] not null default '{}',
    traceparent text,
    body        bytea not null,
    created_at  timestamptz not null default now()
) with (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);

create index pending_due_at on sluice.pending (due_at) where due_at is not null;

-- Never send to these; tenant '' stands for every tenant, recipients are in lower case.
create table sluice.suppression (
    tenant     text collate "C" not null default '',
    recipient  text collate "C" not null,
    reason     text not null,
    source     text not null,
    created_at timestamptz not null default now(),
    primary key (recipient, tenant)
);

-- Refused messages, for a person to look at. The tenant is empty where none could be read.
create table sluice.dead_letter (
    id          bigint generated always as identity primary key,
    job_id      text,
    tenant      text not null default '',
    lane        text not null,
    reason      text not null,
    field       text not null,
    detail      text not null,
    body        bytea not null,
    received_at timestamptz not null default now()
);

create index dead_letter_reason on sluice.dead_letter (reason, id);
