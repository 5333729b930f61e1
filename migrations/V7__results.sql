-- Final states that upstream services are still to be told of. Two triggers fill it, so that whoever moves a job (a worker, an
-- event, an operator, a replica of before) leaves a row with the same commit. They are off until `queue.results` is on.
create table sluice.result (
    -- The order in which to tell.
    id                  bigint generated always as identity primary key,
    job_id              text collate "C" not null,
    tenant              text not null,
    campaign            text,
    class               text not null,
    pool                text not null,
    state               text not null,
    attempts            integer not null,
    esp                 text,
    provider_message_id text,
    category            text,
    detail              text,
    updated_at          timestamptz not null
) with (
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

create function sluice.keep_result() returns trigger language plpgsql as $$
begin
    insert into sluice.result
        (job_id, tenant, campaign, class, pool, state, attempts, esp, provider_message_id, category, detail, updated_at)
    values
        (new.id, new.tenant, new.campaign, new.class, new.pool, new.state, new.attempts, new.esp,
         new.provider_message_id, new.category, new.detail, new.updated_at);
    return null;
end $$;

create trigger job_result_new after insert on sluice.job
    for each row when (new.state not in ('sending', 'deferred', 'unknown'))
    execute function sluice.keep_result();

create trigger job_result after update of state on sluice.job
    for each row when (old.state is distinct from new.state and new.state not in ('sending', 'deferred', 'unknown'))
    execute function sluice.keep_result();

alter table sluice.job disable trigger job_result_new;
alter table sluice.job disable trigger job_result;
