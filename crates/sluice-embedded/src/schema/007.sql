-- Whose jobs wait in each line comes before their lanes, so that tenants and campaigns take turns there.
drop index pending_line;
create index pending_line on pending (limit_key, tenant, campaign_key, pool, class, group_name, seen_at)
    where due_at is null and limit_key is not null;
