//! The API as a document: OpenAPI 3.1, made from the routes and from what they answer.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;
use sluice_types::JobDocument;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, Ref, ResponseBuilder};
use utoipa::{Modify, ToSchema};

use crate::error::ErrorBody;
use crate::routes::Documented;

/// The name of the schema of a job.
pub(crate) const JOB: &str = "JobDocument";
/// Where schemas are in the document.
const SCHEMAS: &str = "/components/schemas";

/// The API of this version as an OpenAPI 3.1 document, indented.
#[must_use]
pub fn openapi() -> String {
    DOCUMENT.clone()
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let document = serde_json::to_value(Documented::openapi()).map(with_job);
    // A document of plain maps and texts can be written in any case.
    document.and_then(|document| serde_json::to_string_pretty(&document)).unwrap_or_default()
});

/// Adds the schema of a job, which the contract has from its own type.
fn with_job(mut document: Value) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = SCHEMAS.into();
    let mut generator = settings.into_generator();
    generator.subschema_for::<JobDocument>();
    if let Some(Value::Object(schemas)) = document.pointer_mut(SCHEMAS) {
        schemas.extend(generator.take_definitions(true));
    }
    document
}

/// What every operation has: a token, and the errors that any request may meet.
pub(crate) struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut token = Http::new(HttpAuthScheme::Bearer);
        token.description = Some(
            "A token of the configuration (`[[http.token]]`) with the scope that the operation names: `publish`, \
             `read` or `operate`. A server that is bound to loopback, or has `allow_unauthenticated`, needs none."
                .to_owned(),
        );
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            let responses = &mut operation.responses.responses;
            let mut add = |status: &str, text: &str| {
                responses.entry(status.to_owned()).or_insert_with(|| error(text).into());
            };
            if operation.security.is_some() {
                add("401", "there is no token, or it is not known (`unauthorized`)");
                add("403", "the token lacks the scope (`forbidden`)");
                add(
                    "421",
                    "called by a name that is not this machine's, where no token is asked for (`wrong_host`)",
                );
            }
            add("500", "the request failed; the log says why (`internal`)");
            add("503", "no answer in time (`timeout`), or too much to do (`busy`); try again");
        }
    }
}

/// The operations of a path.
pub(crate) fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.put, &mut path.post, &mut path.delete].into_iter().flatten()
}

fn error(text: &str) -> utoipa::openapi::Response {
    let body = Content::new(Some(Ref::from_schema_name(ErrorBody::name())));
    ResponseBuilder::new().description(text).content("application/json", body).build()
}

#[cfg(test)]
mod tests;
