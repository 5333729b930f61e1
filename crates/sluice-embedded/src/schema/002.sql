-- The fleet's document, counts for spaced limits, lines of jobs that wait under a limit, and flows that take turns.

-- The spacing at which the arrival time was reached, so that an edited limit goes on from the last slot.
alter table limit_gcra add column spacing_ns integer not null default 0;

-- Slots leased in a window and in the one before it, for people; `window_no` counts windows since the epoch.
alter table limit_gcra add column window_no integer not null default 0;
alter table limit_gcra add column used integer not null default 0;
alter table limit_gcra add column used_before integer not null default 0;

-- What the replicas tell each other, as JSON.
create table fleet (
    id integer primary key check (id = 1),
    state text not null
) strict;

alter table pending add column group_name text not null default 'other';
-- Without nulls, so that an index over them can be walked from value to value.
alter table pending add column campaign_key text generated always as (coalesce(campaign, '')) virtual;
alter table pending add column seen_at integer generated always as (coalesce(first_seen, created_at)) virtual;

-- Without a due time, a job with a limit's key waits in the line of that limit, and one without is held. Held jobs
-- could have a key until now.
update pending set limit_key = null where due_at is null;

drop index pending_due;
create index pending_flow on pending (pool, class, group_name, tenant, campaign_key, due_at)
    where due_at is not null;
create index pending_line on pending (limit_key, pool, class, group_name, seen_at)
    where due_at is null and limit_key is not null;

-- Keys of limits read `esp:main/per:s` from here on; what was spent under the old ones stays spent.
update limit_gcra set key = replace(replace(key, ' gcra ', '/per:'), ' counted ', '/per:');
update limit_gcra set key = replace(key, ' calendar ', '/per:') || ':calendar' where key like '% calendar %';
update limit_count set key = replace(key, ' counted ', '/per:');
update limit_count set key = replace(key, ' calendar ', '/per:') || ':calendar' where key like '% calendar %';
