//! RabbitMQ as publishers and readers of dead letters see it, in the words of AsyncAPI 3.0.
//!
//! The document describes Sluice: it receives jobs, and sends what it refuses and, where it is told to, final states. A lane's queue is nobody's business but
//! its own, so it is not here.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use sluice_amqp::{DEAD, JOBS, RESULTS};
use sluice_types::{BODY_MAX_BYTES, Class, JobDocument, JobState, RefusalReason};

/// Version of the language that the document is written in.
const ASYNCAPI: &str = "3.0.0";
/// Version of the words that AsyncAPI has for AMQP.
const BINDING: &str = "0.3.0";
/// Where named schemas stand in the document.
const SCHEMAS: &str = "/components/schemas";
/// Persistent (AMQP 0-9-1, basic class).
const DELIVERY_MODE: u8 = 2;

/// The whole document.
pub(super) fn document() -> Value {
    // AsyncAPI's own schemas are a superset of draft 7.
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let job = generator.root_schema_for::<JobDocument>();
    let mut schemas = generator.take_definitions(true);
    let mut job = job.to_value();
    // Named schemas stand beside it, not in it.
    if let Some(object) = job.as_object_mut() {
        object.remove("definitions");
        object.remove("components");
    }
    schemas.insert("Job".to_owned(), job);
    json!({
        "asyncapi": ASYNCAPI,
        "info": info(),
        "defaultContentType": "application/json",
        "channels": { "jobs": jobs_channel(), "dead": dead_channel(), "results": results_channel() },
        "operations": operations(),
        "components": {
            "messages": { "job": job_message(), "deadLetter": dead_letter_message(), "result": result_message() },
            "schemas": schemas,
        },
    })
}

fn info() -> Value {
    json!({
        "title": "Sluice over RabbitMQ",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Jobs come in over one exchange, one email each; what is refused goes out over another with the \
            reason. Everything is durable, and works on RabbitMQ 3.10 and 4.x.",
    })
}

fn jobs_channel() -> Value {
    let classes = Class::ALL.map(Class::as_str);
    json!({
        "address": "{pool}.{class}.{domain}",
        "title": "Jobs",
        "description": "The routing key sorts jobs into lanes and decides nothing: the body does. A key that names \
            no configured pool or domain is sorted into a lane all the same.",
        "messages": { "job": { "$ref": "#/components/messages/job" } },
        "parameters": {
            "pool": { "description": "`pool` of the job.", "default": "default" },
            "class": { "description": "`class` of the job.", "enum": classes, "default": classes[0] },
            "domain": {
                "description": "Domain of `to.email`, in lower case.",
                "examples": ["gmail.com", "example.org"],
            },
        },
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": { "name": JOBS, "type": "topic", "durable": true, "autoDelete": false },
                "bindingVersion": BINDING,
            },
        },
    })
}

fn dead_channel() -> Value {
    json!({
        "address": DEAD,
        "title": "Refused messages",
        "description": format!("A quorum queue, and the only one that Sluice binds to its fanout exchange `{DEAD}`; bind your own \
            to leave this one as it is. The same messages are in the store: see `sluice dead list`."),
        "messages": { "deadLetter": { "$ref": "#/components/messages/deadLetter" } },
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": { "name": DEAD, "durable": true, "exclusive": false, "autoDelete": false },
                "bindingVersion": BINDING,
            },
        },
    })
}

fn results_channel() -> Value {
    json!({
        "address": "{tenant}.{state}",
        "title": "Results",
        "description": "Every final state, once it is committed. Only with `queue.results = true`. At least once, the states of one \
            job in order; a queue gets what comes about while it is bound.",
        "messages": { "result": { "$ref": "#/components/messages/result" } },
        "parameters": {
            "tenant": { "description": "`tenant` of the job; it may hold dots.", "default": "default" },
            "state": { "description": "The state, which is the last word of the key.", "enum": final_states() },
        },
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": { "name": RESULTS, "type": "topic", "durable": true, "autoDelete": false },
                "bindingVersion": BINDING,
            },
        },
    })
}

fn final_states() -> Vec<&'static str> {
    JobState::ALL.iter().copied().filter(|state| state.is_final()).map(JobState::as_str).collect()
}

fn operations() -> Value {
    json!({
        "receiveJob": {
            "action": "receive",
            "channel": { "$ref": "#/channels/jobs" },
            "title": "Take a job",
            "summary": "Publish with confirms and `mandatory`: a job is Sluice's when the broker has confirmed it.",
            "messages": [{ "$ref": "#/channels/jobs/messages/job" }],
            "bindings": {
                "amqp": { "deliveryMode": DELIVERY_MODE, "mandatory": true, "ack": true, "bindingVersion": BINDING },
            },
        },
        "sendDeadLetter": {
            "action": "send",
            "channel": { "$ref": "#/channels/dead" },
            "title": "Refuse a message",
            "summary": "What is not a job, or not one that can be sent, comes out here with the reason.",
            "messages": [{ "$ref": "#/channels/dead/messages/deadLetter" }],
            "bindings": { "amqp": { "deliveryMode": DELIVERY_MODE, "bindingVersion": BINDING } },
        },
        "sendResult": {
            "action": "send",
            "channel": { "$ref": "#/channels/results" },
            "title": "Tell of a final state",
            "summary": "What became of a job, for whoever bound a queue.",
            "messages": [{ "$ref": "#/channels/results/messages/result" }],
            "bindings": { "amqp": { "deliveryMode": DELIVERY_MODE, "mandatory": false, "bindingVersion": BINDING } },
        },
    })
}

fn job_message() -> Value {
    json!({
        "name": "job",
        "title": "Job",
        "summary": "One email to one recipient.",
        "description": format!("At most {BODY_MAX_BYTES} bytes. The `id` in the body is the idempotency key: the same \
            id twice is sent once. Unknown fields are refused."),
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": {
                "traceparent": {
                    "type": "string",
                    "description": "Trace of the publisher (W3C Trace Context); carried on through \
                        every wait, and to the dead letters.",
                },
            },
        },
        "payload": { "$ref": format!("#{SCHEMAS}/Job") },
        "x-amqp-properties": {
            "type": "object",
            "required": ["delivery_mode", "content_type", "message_id"],
            "properties": {
                "delivery_mode": { "const": DELIVERY_MODE },
                "content_type": { "const": "application/json" },
                "message_id": { "type": "string", "description": "The same as `id` in the body." },
            },
        },
        "examples": [{ "name": "smallest", "payload": smallest_job() }],
    })
}

/// A job with nothing but what is required.
fn smallest_job() -> Value {
    json!({
        "v": 1,
        "id": "0192f0c1-6f0e-7c3a-b0de-3f1d0a7c1e55",
        "from": { "email": "news@acme.example" },
        "to": { "email": "ada@gmail.com" },
        "subject": "Hello",
        "text": "Hello Ada",
    })
}

fn dead_letter_message() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "name": "deadLetter",
        "title": "Refused message",
        "summary": "The body as it came, whatever it is, and why it was refused.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "required": ["reason", "field", "detail", "lane"],
            "properties": {
                "reason": {
                    "type": "string",
                    "enum": RefusalReason::ALL.map(RefusalReason::as_str),
                    "description": "Why, from a closed list.",
                },
                "field": text("The field at fault; empty when it is none in particular."),
                "detail": text("What to mend."),
                "lane": text("The lane that it came from: pool, class and domain group."),
                "traceparent": text("As it came with the message, where it did."),
            },
        },
        "payload": { "type": "string", "format": "binary", "description": "The body as it came." },
        "x-amqp-properties": {
            "type": "object",
            "properties": {
                "delivery_mode": { "const": DELIVERY_MODE },
                "content_type": { "const": "application/octet-stream" },
                "message_id": { "type": "string", "description": "The job's id, where one can be read from the body." },
            },
        },
    })
}

fn result_message() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let some = |description: &str| json!({ "type": ["string", "null"], "description": description });
    json!({
        "name": "result",
        "title": "Result",
        "summary": "What became of one job.",
        "contentType": "application/json",
        "headers": { "type": "object" },
        "payload": {
            "type": "object",
            "required": ["v", "id", "tenant", "class", "pool", "state", "attempts", "updated_at"],
            "properties": {
                "v": { "const": 1 },
                "id": text("The job's id."),
                "tenant": text("Whose it is."),
                "campaign": some("Its campaign."),
                "class": { "type": "string", "enum": Class::ALL.map(Class::as_str) },
                "pool": text("Its pool."),
                "state": { "type": "string", "enum": final_states() },
                "attempts": { "type": "integer", "description": "Calls of an ESP." },
                "esp": some("The ESP that was asked last."),
                "provider_message_id": some("What that ESP calls the message."),
                "category": some("Why, in one word from a closed list."),
                "detail": some("What the ESP said."),
                "updated_at": { "type": "string", "format": "date-time" },
            },
        },
        "x-amqp-properties": {
            "type": "object",
            "properties": {
                "delivery_mode": { "const": DELIVERY_MODE },
                "content_type": { "const": "application/json" },
                "message_id": { "type": "string", "description": "The same as `id` in the body." },
            },
        },
    })
}

#[cfg(test)]
mod tests;
