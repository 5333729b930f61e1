//! Whose jobs wait in each line: a walk from owner to owner over the index, without reading what is between.

use std::collections::HashMap;
use std::sync::PoisonError;

use crate::convert::column;
use crate::{Postgres, StoreError};

const STEP: &str = "look for owners in lines";

/// Owners that are walked over in one statement, beside the first of each line.
const OWNERS_MAX: usize = 2_000;

/// From $2 and $3 on, which are no owners of their own, in each line $1: all lines one step at a time, so that each shows its
/// first.
const OWNERS: &str = "
WITH RECURSIVE owner (place, key, tenant, campaign, is_found) AS (
    SELECT l.place, l.key COLLATE \"C\", l.tenant COLLATE \"C\", l.campaign COLLATE \"C\", false
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS l (key, tenant, campaign, place)
    UNION ALL
    SELECT o.place, o.key, n.tenant, n.campaign, true
    FROM owner o
    CROSS JOIN LATERAL (
        SELECT p.tenant COLLATE \"C\" AS tenant, coalesce(p.campaign, '') COLLATE \"C\" AS campaign
        FROM sluice.pending p
        WHERE p.due_at IS NULL
          AND coalesce(p.limit_key, '') COLLATE \"C\" = o.key
          AND (p.tenant COLLATE \"C\", coalesce(p.campaign, '') COLLATE \"C\") > (o.tenant, o.campaign)
        ORDER BY 1, 2
        LIMIT 1
    ) n
)
SELECT o.place, o.tenant, o.campaign
FROM (SELECT * FROM owner LIMIT $4) o
WHERE o.is_found
";

/// A tenant's campaign, or its jobs of none, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The place of its line among those that were asked for.
    pub(crate) line: usize,
    pub(crate) tenant: String,
    /// Empty for the jobs of none.
    pub(crate) campaign: String,
}

/// The owner after which the next walk through a line begins, where a line has more than one walk goes over.
pub(crate) type OwnersAfter = HashMap<String, (String, String)>;

impl Postgres {
    /// Looks for the owners of jobs in the lines `keys`, from where the last look ended.
    pub(crate) async fn look_for_owners(&self, keys: &[&str]) -> Result<Vec<Owner>, StoreError> {
        let after = self.owners_after.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut owners = self.walk_owners(keys, &after).await?;
        // What lies behind the last one of a line is followed by its first.
        let is_over = |place: usize, key: &str| {
            after.contains_key(key) && !owners.iter().any(|owner| owner.line == place)
        };
        let over: Vec<(usize, &str)> =
            keys.iter().copied().enumerate().filter(|(place, key)| is_over(*place, key)).collect();
        if !over.is_empty() {
            let keys: Vec<&str> = over.iter().map(|(_, key)| *key).collect();
            let from_the_first = self.walk_owners(&keys, &OwnersAfter::new()).await?;
            let of_ours =
                |owner: Owner| over.get(owner.line).map(|(place, _)| Owner { line: *place, ..owner });
            owners.extend(from_the_first.into_iter().filter_map(of_ours));
        }
        Ok(owners)
    }

    async fn walk_owners(&self, keys: &[&str], after: &OwnersAfter) -> Result<Vec<Owner>, StoreError> {
        let of = |key: &&str| after.get(*key).map_or(("", ""), |(tenant, campaign)| (tenant, campaign));
        let (tenants, campaigns): (Vec<&str>, Vec<&str>) = keys.iter().map(of).unzip();
        let max = keys.len() + OWNERS_MAX;
        let limit = i64::try_from(keys.len() + max).unwrap_or(i64::MAX);
        let rows = self.relay.query(STEP, OWNERS, &[&keys, &tenants, &campaigns, &limit]).await?;
        let mut owners = Vec::with_capacity(rows.len());
        for row in &rows {
            let place: i64 = column(row, STEP, "place")?;
            owners.push(Owner {
                line: usize::try_from(place - 1).unwrap_or(usize::MAX),
                tenant: column(row, STEP, "tenant")?,
                campaign: column(row, STEP, "campaign")?,
            });
        }
        let next = ends(keys, &owners, owners.len() >= max);
        let mut after = self.owners_after.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().for_each(|key| drop(after.remove(*key)));
        after.extend(next);
        Ok(owners)
    }
}

/// Where the walk through each line ended that was cut short. The lines step together, so those that ended before are
/// behind by two steps at least.
fn ends(keys: &[&str], owners: &[Owner], is_cut: bool) -> OwnersAfter {
    let mut ends: HashMap<usize, (usize, &Owner)> = HashMap::new();
    for owner in owners.iter().filter(|_| is_cut) {
        let steps = ends.get(&owner.line).map_or(0, |(steps, _)| *steps);
        ends.insert(owner.line, (steps + 1, owner));
    }
    let longest = ends.values().map(|(steps, _)| *steps).max().unwrap_or(0);
    ends.into_iter()
        .filter(|(_, (steps, _))| steps + 1 >= longest)
        .filter_map(|(line, (_, owner))| {
            let key = keys.get(line)?;
            Some(((*key).to_owned(), (owner.tenant.clone(), owner.campaign.clone())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_that_was_cut_goes_on_where_it_ended() {
        let owner = |line, tenant: &str| Owner { line, tenant: tenant.to_owned(), campaign: String::new() };
        let walked =
            [owner(0, "a"), owner(1, "a"), owner(2, "z"), owner(0, "b"), owner(1, "c"), owner(0, "d")];
        let keys = ["x", "y", "z"];
        assert_eq!(ends(&keys, &walked, false), OwnersAfter::new());
        let at = |key: &str, tenant: &str| (key.to_owned(), (tenant.to_owned(), String::new()));
        assert_eq!(ends(&keys, &walked, true), OwnersAfter::from([at("x", "d"), at("y", "c")]));
    }
}
