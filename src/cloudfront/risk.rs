//! What does as it says and is known to bite.

use cdn_core::distribution::Selection;
use http::header;

use super::{Importer, behavior::Policies, origin::Target, read::Object, report::Kind};
use crate::cluster_file::BehaviorFile;

impl Importer<'_> {
    pub(super) fn risks_of_behavior(
        &mut self,
        object: &Object<'_>,
        subject: &str,
        target: &Target,
        file: &BehaviorFile,
        policies: &Policies,
    ) {
        let Policies { cache, origin_request } = policies;
        let caches = !cache.max_ttl.is_zero();
        let settings = match object.at.node.member("CachePolicyId") {
            Some(_) => object.place("CachePolicyId"),
            None => object.place("ForwardedValues"),
        };
        let request = match object.at.node.member("OriginRequestPolicyId") {
            Some(_) => object.place("OriginRequestPolicyId"),
            None => settings.clone(),
        };
        let mut risk = |at, message: String| self.report.remark(Kind::Risky, subject, at, message);
        let takes_host =
            cache.headers.takes_header(&header::HOST) || origin_request.headers.takes_header(&header::HOST);
        if target.is_bucket && takes_host {
            let message = "Host is forwarded to a bucket of S3's, which refuses every request by another name (403)";
            risk(&request, message.to_owned());
        }
        if caches && cache.cookies == Selection::All {
            let message =
                "all cookies are in the cache key: each visitor with a cookie of their own has a cache of their own";
            risk(&settings, message.to_owned());
        }
        if caches && cache.query == Selection::All {
            let message = "the whole query string is in the cache key: utm_source and its like make copies";
            risk(&settings, message.to_owned());
        }
        if caches && cache.cookies.is_none() && !origin_request.cookies.is_none() {
            let message =
                "Set-Cookie of responses is cached and sent to everybody: cookies are forwarded and not in the key";
            risk(&request, message.to_owned());
        }
        if caches && !cache.min_ttl.is_zero() {
            let message = format!(
                "no-store and private are overruled: the minimum TTL of {} keeps every response for {} s",
                cache.name,
                cache.min_ttl.as_secs()
            );
            risk(&settings, message);
        }
        if !file.trusted_key_groups.is_empty() && file.viewer_protocol.as_deref() == Some("allow-all") {
            let message = "signed URLs and cookies travel in clear: the behavior allows HTTP";
            risk(&object.place("ViewerProtocolPolicy"), message.to_owned());
        }
    }
}
