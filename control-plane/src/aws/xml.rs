//! Documents written as CloudFront's XML.
//!
//! A document is JSON as the AWS command line prints it: lists are `{"Quantity": N, "Items": [...]}`, and what is in one is
//! called after the list. Names of the service model (2020-05-31).

use quick_xml::escape::escape;
use serde_json::Value;

/// The namespace of every root element.
pub(super) const NAMESPACE: &str = "http://cloudfront.amazonaws.com/doc/2020-05-31/";

/// What members of lists are called, by the element that the list belongs to.
const MEMBERS: [(&str, &str); 40] = [
    ("AccessControlAllowHeaders", "Header"),
    ("AccessControlAllowMethods", "Method"),
    ("AccessControlAllowOrigins", "Origin"),
    ("AccessControlExposeHeaders", "Header"),
    ("ActiveTrustedKeyGroups", "KeyGroup"),
    ("ActiveTrustedSigners", "Signer"),
    ("Aliases", "CNAME"),
    ("AllowedMethods", "Method"),
    ("CacheBehaviors", "CacheBehavior"),
    ("CachedMethods", "Method"),
    ("CachePolicyList", "CachePolicySummary"),
    ("Cookies", "Name"),
    ("CustomErrorResponses", "CustomErrorResponse"),
    ("CustomHeaders", "OriginCustomHeader"),
    ("CustomHeadersConfig", "ResponseHeadersPolicyCustomHeader"),
    ("DistributionIdList", "DistributionId"),
    ("DistributionList", "DistributionSummary"),
    ("FunctionAssociations", "FunctionAssociation"),
    ("GeoRestriction", "Location"),
    ("Headers", "Name"),
    ("KeyGroupConfig", "PublicKey"),
    ("KeyGroupList", "KeyGroupSummary"),
    ("KeyPairIds", "KeyPairId"),
    ("LambdaFunctionAssociations", "LambdaFunctionAssociation"),
    ("Members", "OriginGroupMember"),
    ("OriginGroups", "OriginGroup"),
    ("OriginRequestPolicyList", "OriginRequestPolicySummary"),
    ("OriginSslProtocols", "SslProtocol"),
    ("Origins", "Origin"),
    ("PublicKeyList", "PublicKeySummary"),
    ("QueryStringCacheKeys", "Name"),
    ("QueryStrings", "Name"),
    ("RemoveHeadersConfig", "ResponseHeadersPolicyRemoveHeader"),
    ("ResponseHeadersPolicyList", "ResponseHeadersPolicySummary"),
    ("StagingDistributionDnsNames", "DnsName"),
    ("StatusCodes", "StatusCode"),
    ("Tags", "Tag"),
    ("TrustedKeyGroups", "KeyGroup"),
    ("TrustedSigners", "AwsAccountNumber"),
    ("WhitelistedNames", "Name"),
];

/// What members of a list are called that the table does not know.
const MEMBER: &str = "member";

/// Writes a document whose root element is `root`.
pub(super) fn write(root: &str, document: &Value) -> String {
    let mut text = format!("<?xml version=\"1.0\"?>\n<{root} xmlns=\"{NAMESPACE}\">");
    contents(&mut text, root, root, document);
    text.push_str("</");
    text.push_str(root);
    text.push('>');
    text
}

/// `around` is the element that `name` stands in.
fn element(text: &mut String, around: &str, name: &str, value: &Value) {
    // What was carried along from somebody's file may have any name.
    let is_name =
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric());
    if value.is_null() || !is_name {
        return;
    }
    text.push('<');
    text.push_str(name);
    text.push('>');
    contents(text, around, name, value);
    text.push_str("</");
    text.push_str(name);
    text.push('>');
}

fn contents(text: &mut String, around: &str, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(members) => members.iter().for_each(|(member, value)| element(text, name, member, value)),
        Value::Array(items) => {
            let known = MEMBERS.iter().find(|(list, _)| *list == around || *list == name);
            let member = known.map_or(MEMBER, |(_, member)| *member);
            items.iter().for_each(|item| element(text, name, member, item));
        }
        Value::String(said) => {
            // XML 1.0, section 2.2: most control characters are in no document, however they are written.
            let said: String = said.chars().filter(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r')).collect();
            text.push_str(&escape(said.as_str()));
        }
        plain => text.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_of_lists_are_called_after_the_list() {
        let document = json!({
            "Aliases": { "Quantity": 2, "Items": ["a.test", "<b>"] },
            "Origins": { "Quantity": 1, "Items": [{ "Id": "a\u{0}b", "Nothing": null }] },
            "New": { "Items": [1] },
            "Enabled": true,
            "not a name": 1,
        });
        let expected = "<?xml version=\"1.0\"?>\n<C xmlns=\"http://cloudfront.amazonaws.com/doc/2020-05-31/\"><Aliases><Quantity>2\
                        </Quantity><Items><CNAME>a.test</CNAME><CNAME>&lt;b&gt;</CNAME></Items></Aliases><Origins><Quantity>1\
                        </Quantity><Items><Origin><Id>ab</Id></Origin></Items></Origins><New><Items><member>1</member></Items>\
                        </New><Enabled>true</Enabled></C>";
        assert_eq!(write("C", &document), expected);
    }
}
