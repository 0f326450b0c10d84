//! What AWS would refuse: with which code, and where.

use serde_json::json;

use super::*;

/// Changes a value of the sample, and tells how it is refused.
fn check(pointer: &str, value: Json, expected: &str) {
    let mut document = sample();
    let found = document.pointer_mut(pointer).unwrap_or_else(|| panic!("there is no {pointer}"));
    *found = value;
    let text = serde_json::to_string_pretty(&document).unwrap();
    let said = match import(&text, &options()) {
        Ok(_) => "taken".to_owned(),
        Err(refusal) => {
            assert!(refusal.at.end <= text.len() && refusal.at.start < refusal.at.end, "{refusal:?}");
            format!("{} at {}", refusal.code, refusal.path.trim_start_matches("DistributionConfig."))
        }
    };
    assert_eq!(said, expected, "{pointer}");
}

/// So many custom headers of one value.
fn headers_of_origin(count: usize, value: &str) -> Json {
    let header = |n| json!({ "HeaderName": format!("X-{n}"), "HeaderValue": value });
    json!({ "Quantity": count, "Items": (0..count).map(header).collect::<Vec<_>>() })
}

#[test]
fn viewer_events_belong_to_functions_of_one_kind() {
    let mut document = sample();
    let behavior = &mut document["DistributionConfig"]["DefaultCacheBehavior"];
    behavior["FunctionAssociations"] = json!({ "Quantity": 1, "Items": [
        { "FunctionARN": "arn:aws:cloudfront::1:function/f", "EventType": "viewer-request" },
    ] });
    let mut with = |event: &str| {
        document["DistributionConfig"]["DefaultCacheBehavior"]["LambdaFunctionAssociations"] = json!({
            "Quantity": 1,
            "Items": [{ "LambdaFunctionARN": "arn:aws:lambda:us-east-1:1:function:g:1", "EventType": event }],
        });
        import(&document.to_string(), &options()).err().map(|refusal| refusal.code)
    };
    assert_eq!(with("viewer-response"), Some("InvalidLambdaFunctionAssociation"));
    assert_eq!(with("origin-response"), None);
}

#[test]
fn what_aws_would_refuse_is_refused_with_its_code_and_place() {
    let config = |rest: &str| format!("/DistributionConfig/{rest}");
    let rows = [
        ("Aliases/Quantity", json!(3), "InconsistentQuantities at Aliases"),
        ("Aliases/Items/0", json!("a.*.test"), "InvalidArgument at Aliases.Items[0]"),
        ("DefaultRootObject", json!("/index.html"), "InvalidDefaultRootObject at DefaultRootObject"),
        ("Comment", json!(7), "ParamValidation at Comment"),
        ("Comment", json!("x".repeat(129)), "InvalidArgument at Comment"),
        ("Enabled", json!("yes"), "ParamValidation at Enabled"),
        ("Origins/Items/0/DomainName", json!("https://a.test"), "InvalidOrigin at Origins.Items[0].DomainName"),
        ("Origins/Items/1/Id", json!("primary"), "InvalidArgument at Origins.Items[1].Id"),
        ("Origins/Items/2/OriginPath", json!("/v1/"), "InvalidRelativePath at Origins.Items[2].OriginPath"),
        ("Origins/Items/0/ConnectionAttempts", json!(4), "InvalidArgument at Origins.Items[0].ConnectionAttempts"),
        (
            "Origins/Items/0/CustomOriginConfig/OriginReadTimeout",
            json!(121),
            "InvalidOriginReadTimeout at Origins.Items[0].CustomOriginConfig.OriginReadTimeout",
        ),
        (
            "Origins/Items/0/CustomOriginConfig/HTTPPort",
            json!(81),
            "InvalidArgument at Origins.Items[0].CustomOriginConfig.HTTPPort",
        ),
        (
            "Origins/Items/0/CustomHeaders/Items/0/HeaderName",
            json!("Host"),
            "InvalidArgument at Origins.Items[0].CustomHeaders.Items[0].HeaderName",
        ),
        (
            "Origins/Items/0/CustomHeaders/Items/0/HeaderValue",
            json!("x".repeat(1_784)),
            "InvalidArgument at Origins.Items[0].CustomHeaders.Items[0].HeaderValue",
        ),
        (
            "Origins/Items/0/CustomHeaders",
            json!({ "Quantity": 2, "Items": [
                { "HeaderName": "X-A", "HeaderValue": "1" }, { "HeaderName": "x-a", "HeaderValue": "2" },
            ] }),
            "InvalidArgument at Origins.Items[0].CustomHeaders.Items[1].HeaderName",
        ),
        (
            "Origins/Items/0/CustomHeaders",
            headers_of_origin(31, "1"),
            "TooManyOriginCustomHeaders at Origins.Items[0].CustomHeaders",
        ),
        (
            "Origins/Items/0/CustomHeaders",
            headers_of_origin(7, &"x".repeat(1_500)),
            "InvalidArgument at Origins.Items[0].CustomHeaders",
        ),
        (
            "Origins/Items/3/S3OriginConfig/OriginAccessIdentity",
            json!("E1EXAMPLE"),
            "InvalidOriginAccessIdentity at Origins.Items[3].S3OriginConfig.OriginAccessIdentity",
        ),
        ("Origins/Items/3/DomainName", json!("bucket.example.com"), "InvalidOrigin at Origins.Items[3].S3OriginConfig"),
        ("Origins/Items/3/S3OriginConfig", json!(null), "InvalidArgument at Origins.Items[3]"),
        (
            "Origins/Items/0/OriginShield/OriginShieldRegion",
            json!("mars-1"),
            "InvalidArgument at Origins.Items[0].OriginShield.OriginShieldRegion",
        ),
        (
            "OriginGroups/Items/0/Members/Items/1/OriginId",
            json!("nobody"),
            "NoSuchOrigin at OriginGroups.Items[0].Members.Items[1].OriginId",
        ),
        (
            "OriginGroups/Items/0/Members/Items/1/OriginId",
            json!("primary"),
            "InvalidArgument at OriginGroups.Items[0].Members",
        ),
        (
            "OriginGroups/Items/0/FailoverCriteria/StatusCodes/Items/0",
            json!(200),
            "InvalidArgument at OriginGroups.Items[0].FailoverCriteria.StatusCodes.Items[0]",
        ),
        ("DefaultCacheBehavior/TargetOriginId", json!("x"), "NoSuchOrigin at DefaultCacheBehavior.TargetOriginId"),
        ("DefaultCacheBehavior/CachePolicyId", json!(""), "InvalidArgument at DefaultCacheBehavior"),
        (
            "DefaultCacheBehavior/ViewerProtocolPolicy",
            json!("https"),
            "InvalidArgument at DefaultCacheBehavior.ViewerProtocolPolicy",
        ),
        (
            "DefaultCacheBehavior/AllowedMethods/Items",
            json!(["GET", "POST"]),
            "InvalidArgument at DefaultCacheBehavior.AllowedMethods",
        ),
        ("CacheBehaviors/Items/0/PathPattern", json!("/a b"), "InvalidArgument at CacheBehaviors.Items[0].PathPattern"),
        (
            "CacheBehaviors/Items/1/PathPattern",
            json!("api/*"),
            "InvalidArgument at CacheBehaviors.Items[1].PathPattern",
        ),
        (
            "CacheBehaviors/Items/1/TrustedKeyGroups",
            json!({ "Enabled": true, "Quantity": 0 }),
            "TrustedKeyGroupDoesNotExist at CacheBehaviors.Items[1].TrustedKeyGroups",
        ),
        ("CacheBehaviors/Items/2/MinTTL", json!(90_000), "InvalidTTLOrder at CacheBehaviors.Items[2].MinTTL"),
        (
            "CacheBehaviors/Items/2/ForwardedValues/Cookies/Forward",
            json!("some"),
            "InvalidArgument at CacheBehaviors.Items[2].ForwardedValues.Cookies.Forward",
        ),
        (
            "CacheBehaviors/Items/2/ForwardedValues/Cookies/WhitelistedNames",
            json!({ "Quantity": 0 }),
            "InvalidForwardCookies at CacheBehaviors.Items[2].ForwardedValues.Cookies.WhitelistedNames",
        ),
        (
            "CacheBehaviors/Items/2/ForwardedValues/QueryString",
            json!(false),
            "InvalidQueryStringParameters at CacheBehaviors.Items[2].ForwardedValues.QueryStringCacheKeys",
        ),
        (
            "CacheBehaviors/Items/2/ForwardedValues/Headers/Items/0",
            json!("Connection"),
            "InvalidArgument at CacheBehaviors.Items[2].ForwardedValues",
        ),
        (
            "CacheBehaviors/Items/1/TrustedKeyGroups",
            json!({ "Enabled": true, "Quantity": 5, "Items": ["a", "b", "c", "d", "e"] }),
            "TooManyKeyGroupsAssociatedToDistribution at CacheBehaviors.Items[1].TrustedKeyGroups",
        ),
        (
            "DefaultCacheBehavior/LambdaFunctionAssociations",
            json!({ "Quantity": 1, "Items": [
                { "LambdaFunctionARN": "arn:aws:lambda:us-east-1:1:function:f:$LATEST", "EventType": "origin-request" },
            ] }),
            "InvalidLambdaFunctionAssociation at \
             DefaultCacheBehavior.LambdaFunctionAssociations.Items[0].LambdaFunctionARN",
        ),
        (
            "DefaultCacheBehavior/FunctionAssociations",
            json!({ "Quantity": 1, "Items": [{ "FunctionARN": "arn:f", "EventType": "origin-request" }] }),
            "InvalidFunctionAssociation at DefaultCacheBehavior.FunctionAssociations.Items[0].EventType",
        ),
        (
            "CustomErrorResponses/Items/0/ErrorCode",
            json!(418),
            "InvalidErrorCode at CustomErrorResponses.Items[0].ErrorCode",
        ),
        (
            "CustomErrorResponses/Items/1/ErrorCode",
            json!(404),
            "InvalidErrorCode at CustomErrorResponses.Items[1].ErrorCode",
        ),
        (
            "CustomErrorResponses/Items/0/ResponseCode",
            json!("302"),
            "InvalidResponseCode at CustomErrorResponses.Items[0].ResponseCode",
        ),
        ("CustomErrorResponses/Items/0/ResponseCode", json!(""), "InvalidArgument at CustomErrorResponses.Items[0]"),
        (
            "CustomErrorResponses/Items/0/ResponsePagePath",
            json!("404.html"),
            "InvalidRelativePath at CustomErrorResponses.Items[0].ResponsePagePath",
        ),
        ("PriceClass", json!("PriceClass_300"), "InvalidArgument at PriceClass"),
        ("HttpVersion", json!("http4"), "InvalidArgument at HttpVersion"),
        ("ViewerCertificate", json!({ "CloudFrontDefaultCertificate": true }), "InvalidViewerCertificate at Aliases"),
        (
            "ViewerCertificate/SSLSupportMethod",
            json!(""),
            "InvalidViewerCertificate at ViewerCertificate.SSLSupportMethod",
        ),
        (
            "ViewerCertificate/MinimumProtocolVersion",
            json!("SSLv3"),
            "InvalidMinimumProtocolVersion at ViewerCertificate.MinimumProtocolVersion",
        ),
        (
            "ViewerCertificate/MinimumProtocolVersion",
            json!("TLSv1.4"),
            "InvalidMinimumProtocolVersion at ViewerCertificate.MinimumProtocolVersion",
        ),
        (
            "Restrictions/GeoRestriction/Items/0",
            json!("Germany"),
            "InvalidGeoRestrictionParameter at Restrictions.GeoRestriction.Items[0]",
        ),
        (
            "Restrictions/GeoRestriction/Items/0",
            json!("XX"),
            "InvalidGeoRestrictionParameter at Restrictions.GeoRestriction.Items[0]",
        ),
        ("Restrictions/GeoRestriction/Items/0", json!("BV"), "taken"),
        ("Origins", json!({ "Quantity": 0 }), "InvalidArgument at Origins"),
        ("Comment", json!("x".repeat(128)), "taken"),
        ("WebACLId", json!(null), "taken"),
    ];
    for (pointer, value, expected) in rows {
        check(&config(pointer), value, expected);
    }
}
