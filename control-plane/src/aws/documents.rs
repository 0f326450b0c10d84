//! Invalidations and errors as CloudFront's API has them, by the names of its service model (2020-05-31).

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InvalidationBatch {
    pub(super) paths: Paths,
    pub(super) caller_reference: String,
}

impl InvalidationBatch {
    pub(super) fn of(path: Vec<String>, caller_reference: String) -> Self {
        Self { paths: Paths { quantity: path.len(), items: Some(PathItems { path }) }, caller_reference }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Paths {
    pub(super) quantity: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) items: Option<PathItems>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PathItems {
    #[serde(default)]
    pub(super) path: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Invalidation {
    #[serde(rename = "@xmlns")]
    pub(super) xmlns: &'static str,
    pub(super) id: String,
    pub(super) status: &'static str,
    pub(super) create_time: String,
    pub(super) invalidation_batch: InvalidationBatch,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InvalidationList {
    #[serde(rename = "@xmlns")]
    pub(super) xmlns: &'static str,
    pub(super) marker: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_marker: Option<String>,
    pub(super) max_items: usize,
    pub(super) is_truncated: bool,
    pub(super) quantity: usize,
    pub(super) items: InvalidationSummaries,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InvalidationSummaries {
    pub(super) invalidation_summary: Vec<InvalidationSummary>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InvalidationSummary {
    pub(super) id: String,
    pub(super) create_time: String,
    pub(super) status: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ErrorResponse {
    #[serde(rename = "@xmlns")]
    pub(super) xmlns: &'static str,
    pub(super) error: ErrorItem,
    pub(super) request_id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ErrorItem {
    #[serde(rename = "Type")]
    pub(super) kind: &'static str,
    pub(super) code: &'static str,
    pub(super) message: String,
}
