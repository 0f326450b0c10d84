//! Names of CloudFront's as this world can have them: ids, hosts, regions.

use world::Atlas;

/// Characters of an id in a cluster file.
const ID_MAX: usize = 40;

/// An id for `name` that a cluster file can have and that `is_taken` does not know.
pub(crate) fn id_for(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut id = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => id.push(c),
            _ if id.ends_with('-') || id.is_empty() => {}
            _ => id.push('-'),
        }
    }
    id.truncate(ID_MAX);
    let id = id.trim_end_matches('-');
    let id = if id.is_empty() { "unnamed" } else { id };
    if !is_taken(id) {
        return id.to_owned();
    }
    let numbered = |n: usize| {
        let tail = format!("-{n}");
        let head = id.get(..ID_MAX - tail.len()).unwrap_or(id);
        format!("{}{tail}", head.trim_end_matches('-'))
    };
    (2..).map(numbered).find(|id| !is_taken(id)).unwrap_or_default()
}

/// The name under which a world serves an alias: names of worlds end in `.test`, so that they can never be somebody's
/// real ones.
pub(super) fn host_for(alias: &str) -> String {
    let alias = alias.to_ascii_lowercase();
    if alias.ends_with(".test") { alias } else { format!("{alias}.test") }
}

/// Whether a domain name is that of a bucket of S3's REST endpoint, and not of a website of S3's.
pub(super) fn is_bucket(domain: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    let Some(labels) = domain.strip_suffix(".amazonaws.com").or_else(|| domain.strip_suffix(".amazonaws.com.cn"))
    else {
        return false;
    };
    let is_s3 = |label: &str| label == "s3" || label.starts_with("s3-") && !label.starts_with("s3-website");
    labels.split('.').any(is_s3)
}

/// The region that an address of AWS's names, such as `shop.s3.eu-west-1.amazonaws.com`.
pub(super) fn region_of(domain: &str) -> Option<String> {
    let domain = domain.to_ascii_lowercase();
    let is_aws = [".amazonaws.com", ".amazonaws.com.cn", ".on.aws"].iter().any(|suffix| domain.ends_with(suffix));
    if !is_aws {
        return None;
    }
    let bare = |label: &str| {
        let label = label.strip_prefix("s3-website-").or_else(|| label.strip_prefix("s3-")).unwrap_or(label);
        Atlas::embedded().regions().iter().any(|region| region.place.id.as_str() == label).then(|| label.to_owned())
    };
    domain.rsplit('.').find_map(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_cluster_files_take_and_distinct() {
        let id = |name: &str, taken: &[&str]| id_for(name, |id| taken.contains(&id));
        assert_eq!(id("S3-My.Bucket/assets", &[]), "s3-my-bucket-assets");
        assert_eq!(id("api", &["api", "api-2"]), "api-3");
        assert_eq!(id("", &["unnamed"]), "unnamed-2");
        let long = id(&"x".repeat(200), &[&"x".repeat(40)]);
        assert_eq!(long, format!("{}-2", "x".repeat(38)));
        assert_eq!(id("日本", &[]), "unnamed");
    }

    #[test]
    fn addresses_of_aws_tell_their_region() {
        for (domain, region) in [
            ("assets.s3.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("assets.s3-eu-central-1.amazonaws.com", Some("eu-central-1")),
            ("site.s3-website-us-west-2.amazonaws.com", Some("us-west-2")),
            ("my-alb-123.ap-northeast-1.elb.amazonaws.com", Some("ap-northeast-1")),
            ("abc.lambda-url.us-east-1.on.aws", Some("us-east-1")),
            ("assets.s3.amazonaws.com", None),
            ("eu-west-1.example.com", None),
        ] {
            assert_eq!(region_of(domain).as_deref(), region, "{domain}");
        }
        assert!(is_bucket("assets.s3.amazonaws.com") && is_bucket("a.b.s3-eu-west-1.amazonaws.com"));
        assert!(!is_bucket("site.s3-website-us-west-2.amazonaws.com") && !is_bucket("s3.example.com"));
    }

    #[test]
    fn hosts_end_in_test() {
        assert_eq!(host_for("WWW.example.com"), "www.example.com.test");
        assert_eq!(host_for("*.assets.example.test"), "*.assets.example.test");
    }
}
