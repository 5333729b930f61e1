-- Times are integer microseconds since the Unix epoch, UTC. Words come from the closed lists of sluice-types.

create table meta (
    key text primary key,
    value integer not null
) strict, without rowid;

-- How often a worker has opened this file: part of the name under which it claims.
insert into meta (key, value) values ('runs', 0);

-- The queue: one row a message, in the order of publication. A row goes when it is acked.
create table lane_message (
    seq integer primary key autoincrement,
    lane text not null,
    job_id text not null,
    attempt integer not null,
    first_seen integer,
    faulted text,
    resend integer not null,
    traceparent text,
    published_at integer not null,
    body blob not null
) strict;
create index lane_message_lane on lane_message (lane, seq);
create index lane_message_job on lane_message (job_id);

-- One row a job that was claimed or closed. Never a body.
create table job (
    id text primary key,
    tenant text not null,
    campaign text,
    class text not null,
    pool text not null,
    recipient text not null,
    state text not null,
    attempts integer not null,
    esp text,
    provider_message_id text,
    category text,
    detail text,
    updated_at integer not null,
    created_at integer not null,
    worker text,
    claim_token integer,
    deadline integer,
    fingerprint integer not null,
    resent integer not null default 0
) strict;
create index job_state on job (state);

-- One row a try.
create table attempt (
    job_id text not null,
    attempt integer not null,
    tenant text not null,
    esp text not null,
    outcome text not null,
    category text,
    detail text,
    provider_message_id text,
    started_at integer not null,
    finished_at integer not null,
    primary key (job_id, attempt)
) strict, without rowid;

-- Everything that is not due yet. `seq` changes whenever a row is replaced, so that a relay never removes a newer one.
create table pending (
    seq integer primary key autoincrement,
    job_id text not null unique,
    tenant text not null,
    campaign text,
    pool text not null,
    class text not null,
    domain text not null,
    due_at integer,
    reason text not null,
    limit_key text,
    attempt integer not null,
    first_seen integer,
    faulted text,
    resend integer not null,
    traceparent text,
    created_at integer not null,
    body blob not null
) strict;
create index pending_due on pending (due_at, seq) where due_at is not null;
create index pending_reason on pending (reason);

-- Never send to these. Tenant '' stands for every tenant; the recipient is in lower case.
create table suppression (
    recipient text not null,
    tenant text not null,
    reason text not null,
    source text not null,
    created_at integer not null,
    primary key (recipient, tenant)
) strict, without rowid;

-- Refused messages, for a person to look at.
create table dead_letter (
    id integer primary key autoincrement,
    job_id text,
    lane text not null,
    reason text not null,
    field text not null,
    detail text not null,
    received_at integer not null,
    body blob not null
) strict;
create index dead_letter_reason on dead_letter (reason, id);

-- Limits: what was leased, in nanoseconds of the slot clock (the policy's own unit).
create table limit_gcra (
    key text primary key,
    tat_ns integer not null
) strict, without rowid;

create table limit_count (
    key text not null,
    start_ns integer not null,
    used integer not null,
    primary key (key, start_ns)
) strict, without rowid;

-- The slot clock at the last lease, in microseconds: it never goes back, over restarts too.
insert into meta (key, value) values ('slot_clock', 0);
