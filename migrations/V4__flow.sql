-- Lines of jobs under a limit, turns of tenants, and what the replicas of a fleet tell each other.
-- Old replicas go on meanwhile: they write no group, lease by the function of V3, and know no lines.

-- Parked jobs. Three kinds of rows: timed (`due_at`), in line under a limit (`limit_key` alone), held (neither).

alter table sluice.pending add column group_name text not null default 'other';

-- Lines are counted by their index alone, as far as their pages are known to hold nothing but what all can see.
alter table sluice.pending set (autovacuum_vacuum_insert_scale_factor = 0.05);

-- What was held so far is in no line.
update sluice.pending set limit_key = null where due_at is null and limit_key is not null;

-- Whose turn a timed job takes: `<pool>.<class>.<group>/<tenant>/<campaign>`. No name has a `/`.
create function sluice.flow(pool text, class text, group_name text, tenant text, campaign text) returns text
language sql immutable parallel safe
as $$ select pool || '.' || class || '.' || group_name || '/' || tenant || '/' || coalesce(campaign, '') $$;

-- Beside the index on `due_at` alone, which tells whether all that is due fits into one batch, so that there is nothing
-- to share.
create index pending_flow on sluice.pending
    (sluice.flow(pool, class, group_name, tenant, campaign) collate "C", due_at)
    where due_at is not null;

create index pending_line on sluice.pending
    (limit_key collate "C", (coalesce(first_seen, created_at)))
    where due_at is null and limit_key is not null;

-- Finds a campaign that is woken; its timed jobs are found by their flow.
create index pending_campaign on sluice.pending
    (tenant collate "C", campaign collate "C")
    where due_at is null and campaign is not null;

-- Keys of limits read `esp:main/per:s` from here on; what was spent under the old ones stays spent.
create function sluice.new_limit_key(key text) returns text
language sql immutable
as $$
    select regexp_replace(regexp_replace(regexp_replace(regexp_replace(key,
        ' gcra (\w+)$', '/per:\1'),
        ' counted (\d*(?:s|min))$', '/per:\1:rolling'),
        ' counted (\w+)$', '/per:\1'),
        ' calendar (\w+)$', '/per:\1:calendar')
$$;
update sluice.limit_gcra set key = sluice.new_limit_key(key);
update sluice.limit_count set key = sluice.new_limit_key(key);
drop function sluice.new_limit_key(text);

-- The spacing at which the arrival time was reached, so that an edited limit goes on from the last slot; and what was
-- leased in the current window and in the one before it, for people.
alter table sluice.limit_gcra
    add column spacing_ns bigint not null default 0,
    add column window_no bigint not null default 0,
    add column used bigint not null default 0,
    add column used_before bigint not null default 0;

-- The one document that the fleet shares, as JSON; its rules are in the crate sluice-policy (fleet.rs).
create table sluice.fleet (
    id         boolean primary key default true check (id),
    state      text not null,
    updated_at timestamptz not null default now()
) with (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 5000,
    toast.autovacuum_vacuum_cost_delay = 0
);

insert into sluice.fleet (state) values ('{}');

-- Leases up to wants[i] slots under keys[i], of these urgents[i] for transactional jobs; no key twice. One row for each
-- i (`position`, from 1).
--
-- A counted limit has reserved_permilles[i], quotas[i] and bucket_sizes_ns[i] (and look_backs[i]), every other has
-- spacings_ns[i], bursts[i], graces_ns[i], horizons_ns[i] and windows_ns[i]; what does not apply is null. Of the slots,
-- `open_now` are open at the instant of the lease; `then_count` more open `then_in_ns` after it and `spacing_ns` apart;
-- each closes `grace_ns` after it opened. `next_in_ns` is when the next slot opens, if the limit held some back, and
-- `next_urgent_in_ns` the same for transactional jobs. With `mark` slots are given back. `leased_at_ns` is the instant of the
-- lease.
--
-- Rows are locked in key order before the clock is read, so that two callers neither deadlock nor go back in time.
create function sluice.lease(
    keys text[],
    wants bigint[],
    urgents bigint[],
    reserved_permilles bigint[],
    spacings_ns bigint[],
    bursts bigint[],
    graces_ns bigint[],
    horizons_ns bigint[],
    windows_ns bigint[],
    quotas bigint[],
    bucket_sizes_ns bigint[],
    look_backs bigint[],
    at_ns bigint default null
) returns table (
    "position" bigint,
    open_now bigint,
    then_in_ns bigint,
    then_count bigint,
    spacing_ns bigint,
    grace_ns bigint,
    next_in_ns bigint,
    next_urgent_in_ns bigint,
    mark bigint,
    leased_at_ns bigint
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    distinct_keys bigint := (select count(distinct k) from unnest(keys) as k);
    locked bigint;
begin
    -- Again where housekeeping has removed a row in between.
    loop
        insert into sluice.limit_gcra (key)
        select k from unnest(keys) as k order by k collate "C"
        on conflict (key) do nothing;

        perform from sluice.limit_gcra s where s.key = any (keys) order by s.key for update;
        get diagnostics locked = row_count;
        exit when locked >= distinct_keys;
    end loop;

    if at_ns is null then
        at_ns := (extract(epoch from clock_timestamp()) * 1000000)::bigint * 1000;
    end if;

    return query
    with wish as materialized (
        select *
        from unnest(keys, wants, urgents, reserved_permilles, spacings_ns, bursts, graces_ns, horizons_ns, windows_ns,
                quotas, bucket_sizes_ns, look_backs)
            with ordinality as w (key, want, urgent, reserved, spacing, burst, grace, horizon, window_size,
                quota, bucket_size, look_back, n)
    ),

    -- Spaced limits and token buckets.
    arrival as (
        select w.*, at_ns / greatest(w.window_size, 1) as window_no,
            greatest(s.tat_ns + case when s.spacing_ns <> 0 then w.spacing - s.spacing_ns else 0 end, at_ns) as base
        from wish w join sluice.limit_gcra s on s.key = w.key
        where w.quota is null
    ),
    opening as (
        select a.*, a.base - (a.burst - 1) * a.spacing as open from arrival a
    ),
    fitting as (
        select o.*,
            case when o.open > at_ns + o.horizon then 0
                 else least(o.want, (at_ns + o.horizon - o.open) / o.spacing + 1) end as granted
        from opening o
    ),
    gcra as materialized (
        select f.*,
            case when f.open > at_ns then 0
                 else least(f.granted, (at_ns - f.open) / f.spacing + 1) end as opened
        from fitting f
    ),
    moved as (
        update sluice.limit_gcra s
        set tat_ns = g.base + g.granted * g.spacing,
            spacing_ns = g.spacing,
            window_no = g.window_no,
            used = case when s.window_no = g.window_no then s.used else 0 end + g.granted,
            used_before = case s.window_no when g.window_no then s.used_before
                                           when g.window_no - 1 then s.used
                                           else 0 end
        from gcra g
        where s.key = g.key
            and (g.granted > 0 or s.window_no <> g.window_no or s.tat_ns <> g.base or s.spacing_ns <> g.spacing)
    ),

    -- Counts over sub-buckets.
    window_of as (
        select w.*, at_ns / w.bucket_size * w.bucket_size as bucket,
            (at_ns / w.bucket_size - w.look_back) * w.bucket_size as oldest,
            (w.look_back + 1) * w.bucket_size as span,
            least(w.urgent, w.want) as urgent_want
        from wish w
        where w.quota is not null
    ),
    spent as (
        select w.*, greatest(w.quota - c.used, 0) as unused, coalesce(c.first, w.bucket) + w.span as leaves
        from window_of w
        cross join lateral (
            select coalesce(sum(c.used), 0)::bigint as used,
                min(c.bucket_ns) filter (where c.used > 0) as first
            from sluice.limit_count c
            where c.key = w.key and c.bucket_ns >= w.oldest
        ) c
    ),
    -- The reserve for transactional jobs melts as the instant comes near at which used slots come back.
    reserve as (
        select s.*,
            greatest(s.span / 1000, 1) as span_part,
            s.quota * least(s.reserved, 1000) as reserved_parts,
            s.quota * least(s.reserved, 1000)
                * least(greatest((s.leaves - at_ns) / greatest(s.span / 1000, 1), 0), 1000) / 1000000 as kept,
            least(s.urgent_want, s.unused) as urgent_granted
        from spent s
    ),
    granting as (
        select r.*,
            r.urgent_granted
                + least(r.want - r.urgent_want, greatest(r.unused - r.urgent_granted - r.kept, 0)) as granted
        from reserve r
    ),
    counted as materialized (
        select g.*, g.unused - g.granted as left_over from granting g
    ),
    charged as (
        insert into sluice.limit_count as t (key, bucket_ns, used)
        select c.key, c.bucket, c.granted from counted c where c.granted > 0
        on conflict (key, bucket_ns) do update set used = t.used + excluded.used
    ),
    forgotten as (
        delete from sluice.limit_count t
        using window_of w
        where t.key = w.key and t.bucket_ns < w.oldest
    )

    select g.n, g.opened,
        g.open + g.opened * g.spacing - at_ns, g.granted - g.opened, g.spacing, g.grace,
        next.in_ns, next.in_ns, g.base + g.granted * g.spacing, at_ns
    from gcra g
    cross join lateral (
        select case when g.granted < g.want then g.open + g.granted * g.spacing - at_ns end as in_ns
    ) next
    union all
    select c.n, c.granted,
        0::bigint, 0::bigint, 0::bigint, c.bucket + c.bucket_size - 1 - at_ns,
        case when c.granted < c.want then
            least(greatest(
                -- With slots left, the next is lent when the reserve has melted by as many as it exceeds them.
                case when c.left_over > 0 and c.reserved_parts > 0
                     then c.leaves - ((c.left_over * 1000000 - 1) / c.reserved_parts + 1) * c.span_part + 1
                     else c.leaves end,
                at_ns + 1000000), greatest(c.leaves, at_ns + 1000000)) - at_ns
        end,
        case when c.granted < c.want and c.left_over = 0 then c.leaves - at_ns end,
        c.bucket, at_ns
    from counted c;
end
$$;

-- Gives back the last counts[i] slots of the lease that answered marks[i] under keys[i]; spacings_ns[i] is null for a
-- counted limit. Slots of another limit can be given back only as long as no later lease has come.
create function sluice.give_back(keys text[], counts bigint[], spacings_ns bigint[], marks bigint[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    unused record;
begin
    perform from sluice.limit_gcra s where s.key = any (keys) order by s.key for update;
    for unused in
        select * from unnest(keys, counts, spacings_ns, marks) with ordinality as u (key, count, spacing, mark, n)
        order by n
    loop
        if unused.spacing is null then
            update sluice.limit_count t
            set used = greatest(t.used - unused.count, 0)
            where t.key = unused.key and t.bucket_ns = unused.mark;
        else
            update sluice.limit_gcra s
            set tat_ns = s.tat_ns - unused.count * unused.spacing,
                used = greatest(s.used - unused.count, 0)
            where s.key = unused.key and s.tat_ns = unused.mark;
        end if;
    end loop;
end
$$;
