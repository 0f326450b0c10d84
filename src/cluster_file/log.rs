//! Settings of logs as typed.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::ByteCount;

/// Settings of node logs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogFile {
    /// What nodes log, as in `info,access=debug`. Default `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<String>,
    /// How edges log requests: `text` (few fields, among their other lines), or CloudFront's standard log in a file of its
    /// own, `NODE.access.log`, as `w3c` or `json`. Default `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access: Option<String>,
    /// Size at which a log is rotated. Default 8MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<ByteCount>,
    /// Rotated files that are kept per node. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep: Option<usize>,
    /// CloudFront's real-time logs, by the id of their distribution. Default none.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) realtime: IndexMap<String, RealtimeLogFile>,
}

/// A real-time log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RealtimeLogFile {
    /// Fields of a record by CloudFront's names; they stand in CloudFront's order. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fields: Option<Vec<String>>,
    /// How many requests in a hundred have a record, 1 to 100. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sampling_percent: Option<u8>,
}
