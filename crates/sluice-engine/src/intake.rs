//! Jobs that come over HTTP or from a file: checked at the door, told apart from known ones, published with confirms.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use sluice_types::{Job, JobId, Refusal};

use crate::decode::decode;
use crate::health::chain;
use crate::plan::LivePlan;
use crate::ports::{Console, KnownJob, Outbox, Passport, Publication, PublishError};

/// The door for jobs that are not published by AMQP.
#[derive(Clone, Debug)]
pub struct Intake {
    plan: Arc<LivePlan>,
    outbox: Arc<dyn Outbox>,
    console: Arc<dyn Console>,
}

/// What became of one job at the door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum IntakeAnswer {
    /// It is in its lane, durably.
    Queued {
        /// The job.
        id: String,
    },
    /// The same job was queued before; nothing was done.
    Duplicate {
        /// The job.
        id: String,
    },
    /// It is no job that can be taken; nothing was done.
    Error {
        /// Its id, if one could be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// Why, which field, and what to mend.
        #[serde(flatten)]
        refusal: Refusal,
    },
    /// It could not be queued now; try again.
    Unavailable {
        /// The job.
        id: String,
    },
}

impl Intake {
    /// A door to the lanes behind `outbox`.
    #[must_use]
    pub fn new(plan: Arc<LivePlan>, outbox: Arc<dyn Outbox>, console: Arc<dyn Console>) -> Self {
        Self { plan, outbox, console }
    }

    /// Takes jobs; one answer per body, in order.
    pub async fn submit(&self, bodies: Vec<Bytes>) -> Vec<IntakeAnswer> {
        let plan = self.plan.get();
        let mut decoded: Vec<Result<Box<Job>, Refusal>> = Vec::with_capacity(bodies.len());
        for body in &bodies {
            decoded.push(decode(&plan, body));
            // Templates may take some milliseconds each, and others have to keep their times.
            tokio::task::yield_now().await;
        }
        let ids: Vec<JobId> = decoded.iter().flatten().map(|job| job.id.clone()).collect();
        let known = match self.console.known(&ids).await {
            Ok(known) => ids.iter().cloned().zip(known).filter_map(|(id, it)| Some((id, it?))).collect(),
            Err(error) => {
                // The claim tells duplicates apart in any case; here it is a courtesy.
                tracing::warn!(error = %chain(&error), "could not look for duplicates at the door");
                HashMap::new()
            }
        };
        self.publish(bodies, decoded, &known).await
    }

    async fn publish(
        &self,
        bodies: Vec<Bytes>,
        decoded: Vec<Result<Box<Job>, Refusal>>,
        known: &HashMap<JobId, KnownJob>,
    ) -> Vec<IntakeAnswer> {
        let mut answers = Vec::with_capacity(bodies.len());
        let mut publications = Vec::new();
        let mut places = Vec::new();
        let mut first_here: HashMap<JobId, (i64, usize)> = HashMap::new();
        // Where a job stands that is here a second time, and where the first is.
        let mut copies = Vec::new();
        for (body, decoded) in bodies.into_iter().zip(decoded) {
            let job = match decoded {
                Ok(job) => job,
                Err(refusal) => {
                    answers.push(IntakeAnswer::Error { id: Job::peek_id(&body), refusal });
                    continue;
                }
            };
            let id = job.id.to_string();
            let seen_with = match (first_here.get(&job.id), known.get(&job.id)) {
                (Some((fingerprint, _)), _) => Some(Some(*fingerprint)),
                (None, Some(known)) => Some(known.fingerprint),
                (None, None) => None,
            };
            match seen_with {
                Some(Some(fingerprint)) if fingerprint != job.fingerprint => {
                    answers.push(IntakeAnswer::Error { id: Some(id), refusal: Refusal::id_conflict() });
                }
                Some(_) => {
                    if let Some((_, first)) = first_here.get(&job.id) {
                        copies.push((answers.len(), *first));
                    }
                    answers.push(IntakeAnswer::Duplicate { id });
                }
                None => {
                    first_here.insert(job.id.clone(), (job.fingerprint, answers.len()));
                    places.push(answers.len());
                    answers.push(IntakeAnswer::Queued { id });
                    publications.push(Publication {
                        lane: self.plan.get().lane(&job.pool, job.class, job.to.email.domain()),
                        id: job.id,
                        body,
                        passport: Passport::default(),
                    });
                }
            }
        }
        if publications.is_empty() {
            return answers;
        }
        for (place, result) in places.into_iter().zip(self.outbox.publish(publications).await) {
            let Some(answer) = answers.get_mut(place) else { continue };
            if let (Err(error), IntakeAnswer::Queued { id }) = (result, &*answer) {
                let id = id.clone();
                *answer = match error {
                    PublishError::Duplicate => IntakeAnswer::Duplicate { id },
                    PublishError::Unavailable(_) | PublishError::Unroutable | PublishError::Refused => {
                        tracing::warn!(job = %id, error = %chain(&error), "could not queue a job");
                        IntakeAnswer::Unavailable { id }
                    }
                };
            }
        }
        // What was not queued is there no second time either: it has to be tried again.
        for (copy, first) in copies {
            if let Some(unavailable @ IntakeAnswer::Unavailable { .. }) = answers.get(first).cloned()
                && let Some(answer) = answers.get_mut(copy)
            {
                *answer = unavailable;
            }
        }
        answers
    }
}
