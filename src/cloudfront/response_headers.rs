//! Response headers policies: CloudFront's JSON to a cluster file's, and back.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{
    policy::list,
    read::{INVALID_ARGUMENT, Object, Refusal},
};
use crate::{
    cluster_file::{
        CorsFile, CustomHeaderFile, ResponseHeadersPolicyFile, SecurityHeadersFile, SecuritySwitchFile,
        SecurityValueFile, StrictTransportSecurityFile, XssProtectionFile,
    },
    quantity::Span,
};

pub(super) fn response_headers_policy(mut config: Object<'_>, id: &str) -> Result<ResponseHeadersPolicyFile, Refusal> {
    let cors = config.object("CorsConfig")?.map(cors).transpose()?;
    let security = config.object("SecurityHeadersConfig")?.map(security).transpose()?;
    let mut custom = Vec::new();
    for at in config.list("CustomHeadersConfig")? {
        let mut header = at.object()?;
        custom.push(CustomHeaderFile {
            name: header.required("Header")?.text()?.to_owned(),
            value: header.required("Value")?.text()?.to_owned(),
            overrides: flag(&mut header, "Override")?,
        });
    }
    let mut remove = Vec::new();
    for at in config.list("RemoveHeadersConfig")? {
        remove.push(at.object()?.required("Header")?.text()?.to_owned());
    }
    let server_timing = match config.object("ServerTimingHeadersConfig")? {
        Some(timing) => server_timing(timing)?,
        None => None,
    };
    Ok(ResponseHeadersPolicyFile { id: Some(id.to_owned()), remove, cors, security, custom, server_timing })
}

/// Percent of responses.
fn server_timing(mut config: Object<'_>) -> Result<Option<f64>, Refusal> {
    if !config.flag("Enabled")? {
        return Ok(None);
    }
    let Some(rate) = config.take("SamplingRate") else { return Ok(Some(0.0)) };
    let percent = rate.node.to_json().as_f64().filter(|percent| (0.0..=100.0).contains(percent));
    percent.map(Some).ok_or_else(|| rate.refuse(INVALID_ARGUMENT, "SamplingRate is a number from 0 to 100"))
}

fn flag(object: &mut Object<'_>, name: &str) -> Result<Option<bool>, Refusal> {
    Ok(object.flag(name)?.then_some(true))
}

fn span(object: &mut Object<'_>, name: &str) -> Result<Option<Span>, Refusal> {
    let secs = object.take(name).map(|at| at.number()).transpose()?;
    Ok(secs.map(|secs| Span(Duration::from_secs(secs.min(u64::from(u32::MAX))))))
}

fn cors(mut config: Object<'_>) -> Result<CorsFile, Refusal> {
    let origins = config.texts("AccessControlAllowOrigins")?;
    Ok(CorsFile {
        allow_origins: Some(origins),
        allow_methods: config.texts("AccessControlAllowMethods")?,
        allow_headers: config.texts("AccessControlAllowHeaders")?,
        expose_headers: config.texts("AccessControlExposeHeaders")?,
        allow_credentials: flag(&mut config, "AccessControlAllowCredentials")?,
        max_age: span(&mut config, "AccessControlMaxAgeSec")?,
        overrides: flag(&mut config, "OriginOverride")?,
    })
}

fn security(mut config: Object<'_>) -> Result<SecurityHeadersFile, Refusal> {
    let mut value = |member: &str, name: &str| -> Result<Option<SecurityValueFile>, Refusal> {
        let Some(mut header) = config.object(member)? else { return Ok(None) };
        let value = header.required(name)?.text()?.to_owned();
        Ok(Some(SecurityValueFile { value, overrides: flag(&mut header, "Override")? }))
    };
    let content_security_policy = value("ContentSecurityPolicy", "ContentSecurityPolicy")?;
    let frame_options = value("FrameOptions", "FrameOption")?;
    let referrer_policy = value("ReferrerPolicy", "ReferrerPolicy")?;
    let content_type_options = match config.object("ContentTypeOptions")? {
        Some(mut header) => Some(SecuritySwitchFile { overrides: flag(&mut header, "Override")? }),
        None => None,
    };
    let strict_transport_security = match config.object("StrictTransportSecurity")? {
        Some(mut header) => Some(StrictTransportSecurityFile {
            max_age: span(&mut header, "AccessControlMaxAgeSec")?.unwrap_or(Span(Duration::ZERO)),
            include_subdomains: flag(&mut header, "IncludeSubdomains")?,
            preload: flag(&mut header, "Preload")?,
            overrides: flag(&mut header, "Override")?,
        }),
        None => None,
    };
    let xss_protection = match config.object("XSSProtection")? {
        Some(mut header) => Some(XssProtectionFile {
            protection: Some(header.flag("Protection")?),
            mode_block: flag(&mut header, "ModeBlock")?,
            report_uri: header.text("ReportUri")?.map(str::to_owned),
            overrides: flag(&mut header, "Override")?,
        }),
        None => None,
    };
    Ok(SecurityHeadersFile {
        strict_transport_security,
        content_security_policy,
        frame_options,
        referrer_policy,
        content_type_options,
        xss_protection,
    })
}

/// A response headers policy as `get-response-headers-policy` prints it.
pub(super) fn response_headers_policy_json(name: &str, policy: &ResponseHeadersPolicyFile, id: &str) -> Json {
    let mut config = json!({ "Comment": "", "Name": name });
    if let Some(cors) = &policy.cors {
        let any = ["*".to_owned()];
        let mut written = json!({
            "AccessControlAllowOrigins": list(cors.allow_origins.as_deref().unwrap_or(&any)),
            "AccessControlAllowHeaders": list(&cors.allow_headers),
            "AccessControlAllowMethods": list(&cors.allow_methods),
            "AccessControlAllowCredentials": cors.allow_credentials.unwrap_or(false),
            "AccessControlExposeHeaders": list(&cors.expose_headers),
            "OriginOverride": cors.overrides.unwrap_or(false),
        });
        if let Some(max_age) = cors.max_age {
            written["AccessControlMaxAgeSec"] = max_age.0.as_secs().into();
        }
        config["CorsConfig"] = written;
    }
    if let Some(security) = &policy.security {
        config["SecurityHeadersConfig"] = security_json(security);
    }
    if let Some(rate) = policy.server_timing {
        config["ServerTimingHeadersConfig"] = json!({ "Enabled": true, "SamplingRate": rate });
    }
    let custom: Vec<Json> = (policy.custom.iter())
        .map(|header| {
            let overrides = header.overrides.unwrap_or(false);
            json!({ "Header": header.name, "Value": header.value, "Override": overrides })
        })
        .collect();
    config["CustomHeadersConfig"] = list(&custom);
    let remove: Vec<Json> = policy.remove.iter().map(|name| json!({ "Header": name })).collect();
    config["RemoveHeadersConfig"] = list(&remove);
    json!({ "ResponseHeadersPolicy": { "Id": id, "ResponseHeadersPolicyConfig": config } })
}

fn security_json(security: &SecurityHeadersFile) -> Json {
    let mut config = json!({});
    let mut value = |member: &str, name: &str, header: &Option<SecurityValueFile>| {
        if let Some(header) = header {
            config[member] = json!({ "Override": header.overrides.unwrap_or(false), name: header.value });
        }
    };
    value("FrameOptions", "FrameOption", &security.frame_options);
    value("ReferrerPolicy", "ReferrerPolicy", &security.referrer_policy);
    value("ContentSecurityPolicy", "ContentSecurityPolicy", &security.content_security_policy);
    if let Some(header) = &security.content_type_options {
        config["ContentTypeOptions"] = json!({ "Override": header.overrides.unwrap_or(false) });
    }
    if let Some(header) = &security.strict_transport_security {
        config["StrictTransportSecurity"] = json!({
            "Override": header.overrides.unwrap_or(false),
            "IncludeSubdomains": header.include_subdomains.unwrap_or(false),
            "Preload": header.preload.unwrap_or(false),
            "AccessControlMaxAgeSec": header.max_age.0.as_secs(),
        });
    }
    if let Some(header) = &security.xss_protection {
        let mut written = json!({
            "Override": header.overrides.unwrap_or(false),
            "Protection": header.protection.unwrap_or(true),
            "ModeBlock": header.mode_block.unwrap_or(false),
        });
        if let Some(uri) = &header.report_uri {
            written["ReportUri"] = uri.as_str().into();
        }
        config["XSSProtection"] = written;
    }
    config
}
