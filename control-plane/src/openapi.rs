//! The OpenAPI document, made from the table of routes and the types they take and give.

use serde_json::{Map, Value, json};

use crate::{
    routes::{Access, Gives, ROUTES, Route, Schemas, Takes},
    wire::ErrorDocument,
};

/// The document of this version.
pub(crate) fn document(version: &str) -> Value {
    let mut schemas = Map::new();
    let error = json!({
        "description": "Why not",
        "content": { "application/json": { "schema": reference(&mut schemas, error_schemas()) } },
    });
    let mut paths = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut schemas, &error);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(operations) = path.as_object_mut() {
            operations.insert(route.verb.as_str().to_owned(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Isochrone control API",
            "version": version,
            "description": "Everything that `iso` does to a running world. Spans are milliseconds.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn error_schemas() -> Schemas {
    use utoipa::{PartialSchema as _, ToSchema as _};
    let mut referred = Vec::new();
    ErrorDocument::schemas(&mut referred);
    Schemas { name: ErrorDocument::name().into_owned(), schema: ErrorDocument::schema(), referred }
}

fn operation(route: &Route, schemas: &mut Map<String, Value>, error: &Value) -> Value {
    let mut operation = json!({ "operationId": route.name, "summary": route.summary });
    let mut parameters: Vec<Value> = path_parameters(route.path).collect();
    parameters.extend((route.query)().iter().map(to_value));
    let content = match route.gives {
        Gives::Json(of) => json!({ "application/json": { "schema": reference(schemas, of()) } }),
        Gives::Value => json!({ "application/json": { "schema": {} } }),
        Gives::Stream(of) => {
            let item = reference(schemas, of());
            json!({ "text/event-stream": { "schema": item }, "application/x-ndjson": { "schema": item } })
        }
        Gives::Text(media_type) => json!({ media_type: { "schema": { "type": "string" } } }),
    };
    let mut responses = Map::new();
    responses.insert(route.status.to_string(), json!({ "description": route.summary, "content": content }));
    if route.access == Access::Token {
        responses.insert("default".into(), error.clone());
    }
    let Some(fields) = operation.as_object_mut() else { return operation };
    if !parameters.is_empty() {
        fields.insert("parameters".into(), parameters.into());
    }
    let mut body = |of: Schemas, required: bool| {
        let content = json!({ "application/json": { "schema": reference(schemas, of) } });
        fields.insert("requestBody".into(), json!({ "required": required, "content": content }));
    };
    match route.takes {
        Takes::Nothing => {}
        Takes::Json(of) => body(of(), true),
        Takes::JsonIfAny(of) => body(of(), false),
    }
    fields.insert("responses".into(), responses.into());
    if route.access == Access::Public {
        fields.insert("security".into(), json!([]));
    }
    operation
}

/// Adds a schema and what it refers to, and returns a reference to it.
fn reference(schemas: &mut Map<String, Value>, of: Schemas) -> Value {
    let name = format!("#/components/schemas/{}", of.name);
    for (name, schema) in of.referred.iter().map(|(name, schema)| (name, schema)).chain([(&of.name, &of.schema)]) {
        schemas.insert(name.clone(), to_value(schema));
    }
    json!({ "$ref": name })
}

fn path_parameters(path: &'static str) -> impl Iterator<Item = Value> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
}

/// Schemas are plain data, which always has a JSON form.
fn to_value(part: &impl serde::Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}
