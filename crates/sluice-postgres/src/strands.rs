//! Whose jobs wait in each line, and for which lane: a walk from strand to strand over the index, without reading what is
//! between.

use std::collections::HashMap;
use std::sync::PoisonError;

use crate::connections::Connections;
use crate::convert::column;
use crate::{Postgres, StoreError};

const STEP: &str = "look for strands in lines";

/// Strands that are walked over in one statement, beside the first of each line.
const STRANDS_MAX: usize = 2_000;

/// From $2, $3 and $4 on, which are no strands of their own, in each line $1: all lines one step at a time, so that each shows
/// its first.
const STRANDS: &str = "
WITH RECURSIVE strand (place, key, tenant, campaign, lane, is_found) AS (
    SELECT l.place, l.key COLLATE \"C\", l.tenant COLLATE \"C\", l.campaign COLLATE \"C\", l.lane COLLATE \"C\", false
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS l (key, tenant, campaign, lane, place)
    UNION ALL
    SELECT s.place, s.key, n.tenant, n.campaign, n.lane, true
    FROM strand s
    CROSS JOIN LATERAL (
        SELECT p.tenant COLLATE \"C\" AS tenant, coalesce(p.campaign, '') COLLATE \"C\" AS campaign,
            (p.pool || '.' || p.class || '.' || p.group_name) COLLATE \"C\" AS lane
        FROM sluice.pending p
        WHERE p.due_at IS NULL
          AND coalesce(p.limit_key, '') COLLATE \"C\" = s.key
          AND (p.tenant COLLATE \"C\", coalesce(p.campaign, '') COLLATE \"C\",
               (p.pool || '.' || p.class || '.' || p.group_name) COLLATE \"C\") > (s.tenant, s.campaign, s.lane)
        ORDER BY 1, 2, 3
        LIMIT 1
    ) n
)
SELECT s.place, s.tenant, s.campaign, s.lane
FROM (SELECT * FROM strand LIMIT $5) s
WHERE s.is_found
";

/// The jobs of a tenant's campaign, or its jobs of none, for one lane, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strand {
    /// The place of its line among those that were asked for.
    pub(crate) line: usize,
    pub(crate) tenant: String,
    /// Empty for the jobs of none.
    pub(crate) campaign: String,
    /// As it is shown.
    pub(crate) lane: String,
}

impl Strand {
    /// The class in its lane, as it is shown.
    pub(crate) fn class(&self) -> &str {
        self.lane.split('.').nth(1).unwrap_or_default()
    }
}

/// The strand after which the next walk through a line begins, where a line has more than one walk goes over.
pub(crate) type StrandsAfter = HashMap<String, (String, String, String)>;

impl Postgres {
    /// Looks for the strands of the lines `keys`, from where the last look ended.
    pub(crate) async fn look_for_strands(&self, keys: &[&str]) -> Result<Vec<Strand>, StoreError> {
        let after = self.strands_after.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut strands = self.walk_strands(keys, &after).await?;
        // What lies behind the last one of a line is followed by its first.
        let is_over = |place: usize, key: &str| {
            after.contains_key(key) && !strands.iter().any(|strand| strand.line == place)
        };
        let over: Vec<(usize, &str)> =
            keys.iter().copied().enumerate().filter(|(place, key)| is_over(*place, key)).collect();
        if !over.is_empty() {
            let keys: Vec<&str> = over.iter().map(|(_, key)| *key).collect();
            let from_the_first = self.walk_strands(&keys, &StrandsAfter::new()).await?;
            let of_ours =
                |strand: Strand| over.get(strand.line).map(|(place, _)| Strand { line: *place, ..strand });
            strands.extend(from_the_first.into_iter().filter_map(of_ours));
        }
        Ok(strands)
    }

    async fn walk_strands(&self, keys: &[&str], after: &StrandsAfter) -> Result<Vec<Strand>, StoreError> {
        let max = keys.len() + STRANDS_MAX;
        let strands = self.strands_from(&self.relay, keys, after, max).await?;
        let next = ends(keys, &strands, strands.len() >= max);
        let mut after = self.strands_after.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().for_each(|key| drop(after.remove(*key)));
        after.extend(next);
        Ok(strands)
    }

    /// The strands of the lines `keys` from `after` on, `max` at most.
    pub(crate) async fn strands_from(
        &self,
        connections: &Connections,
        keys: &[&str],
        after: &StrandsAfter,
        max: usize,
    ) -> Result<Vec<Strand>, StoreError> {
        let (mut tenants, mut campaigns, mut lanes) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            let (tenant, campaign, lane) = after.get(*key).map_or(("", "", ""), |(a, b, c)| (a, b, c));
            tenants.push(tenant);
            campaigns.push(campaign);
            lanes.push(lane);
        }
        let limit = i64::try_from(keys.len() + max).unwrap_or(i64::MAX);
        let rows = connections.query(STEP, STRANDS, &[&keys, &tenants, &campaigns, &lanes, &limit]).await?;
        let mut strands = Vec::with_capacity(rows.len());
        for row in &rows {
            let place: i64 = column(row, STEP, "place")?;
            strands.push(Strand {
                line: usize::try_from(place - 1).unwrap_or(usize::MAX),
                tenant: column(row, STEP, "tenant")?,
                campaign: column(row, STEP, "campaign")?,
                lane: column(row, STEP, "lane")?,
            });
        }
        Ok(strands)
    }
}

/// Where the walk through each line ended that was cut short. The lines step together, so those that ended before are
/// behind by two steps at least.
fn ends(keys: &[&str], strands: &[Strand], is_cut: bool) -> StrandsAfter {
    let mut ends: HashMap<usize, (usize, &Strand)> = HashMap::new();
    for strand in strands.iter().filter(|_| is_cut) {
        let steps = ends.get(&strand.line).map_or(0, |(steps, _)| *steps);
        ends.insert(strand.line, (steps + 1, strand));
    }
    let longest = ends.values().map(|(steps, _)| *steps).max().unwrap_or(0);
    ends.into_iter()
        .filter(|(_, (steps, _))| steps + 1 >= longest)
        .filter_map(|(line, (_, strand))| {
            let key = keys.get(line)?;
            Some(((*key).to_owned(), (strand.tenant.clone(), strand.campaign.clone(), strand.lane.clone())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_that_was_cut_goes_on_where_it_ended() {
        let strand = |line, tenant: &str| Strand {
            line,
            tenant: tenant.to_owned(),
            campaign: String::new(),
            lane: "p.bulk.g".to_owned(),
        };
        let walked =
            [strand(0, "a"), strand(1, "a"), strand(2, "z"), strand(0, "b"), strand(1, "c"), strand(0, "d")];
        let keys = ["x", "y", "z"];
        assert_eq!(ends(&keys, &walked, false), StrandsAfter::new());
        let at = |key: &str, tenant: &str| {
            (key.to_owned(), (tenant.to_owned(), String::new(), "p.bulk.g".to_owned()))
        };
        assert_eq!(ends(&keys, &walked, true), StrandsAfter::from([at("x", "d"), at("y", "c")]));
    }
}
