//! The certificate authority of a world: made once, kept in its state directory, and trusted by nobody who does not ask.
//!
//! Its certificate says that it vouches for names below `.test` and for addresses of this machine alone (RFC 5280, section
//! 4.2.1.10), so that whoever trusts it (`iso trust`) risks nothing elsewhere. Keys are readable by the user alone.

use std::{
    fs, io,
    io::Write as _,
    net::{IpAddr, Ipv6Addr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use cdn_core::{Role, distribution::Distribution, origin_protocol};
use edge_node::Certificate;
use origin_sim::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData as _, SanType,
};
use sha2::Digest as _;

use crate::{
    cluster::{Cluster, own_name},
    state::WorldDir,
};

/// For how long a certificate of the authority itself is good.
const AUTHORITY_SPAN: Duration = Duration::from_secs(3650 * 86_400);
/// For how long a leaf is good.
pub(crate) const LEAF_SPAN: Duration = Duration::from_secs(90 * 86_400);
/// Clocks of clients may be slow.
const BEFORE: Duration = Duration::from_secs(86_400);

/// See the module.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

/// Where the authority of a world keeps what it has, below the world's directory.
#[derive(Clone, Debug)]
pub(crate) struct AuthorityDir(PathBuf);

impl AuthorityDir {
    /// In `world`, which is readable by the user alone.
    pub(crate) fn new(world: &Path) -> Self {
        Self(world.join("tls"))
    }

    /// The authority's own certificate, for who is to trust it.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// A leaf, in PEM.
    pub(crate) fn chain(&self, distribution: &str) -> PathBuf {
        self.0.join(format!("{distribution}.leaf.pem"))
    }

    /// The key of a leaf, in PEM.
    pub(crate) fn key(&self, distribution: &str) -> PathBuf {
        self.0.join(format!("{distribution}.leaf.key"))
    }

    /// The public keys of the leaves as browsers pin them: SHA-256 of what RFC 5280 calls SubjectPublicKeyInfo, in base64.
    ///
    /// # Errors
    /// The file system refuses, or what it holds is no key.
    pub(crate) fn pins(&self) -> anyhow::Result<Vec<String>> {
        let mut pins = Vec::new();
        for entry in fs::read_dir(&self.0).with_context(|| format!("cannot read {}", self.0.display()))? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(".leaf.key") {
                let key = KeyPair::from_pem(&read(&path)?).with_context(|| format!("{} is no key", path.display()))?;
                pins.push(data_encoding::BASE64.encode(&sha2::Sha256::digest(key.subject_public_key_info())));
            }
        }
        pins.sort();
        Ok(pins)
    }
}

impl Authority {
    /// The authority of a world; made where there is none yet.
    ///
    /// # Errors
    /// The file system refuses, or what it holds is no key.
    pub(crate) fn open(dir: &AuthorityDir, world: &str) -> anyhow::Result<Self> {
        let key_path = dir.0.join("ca.key");
        fs::create_dir_all(&dir.0).with_context(|| format!("cannot create {}", dir.0.display()))?;
        match fs::read_to_string(&key_path) {
            Ok(pem) if dir.certificate().exists() => {
                let key = KeyPair::from_pem(&pem).with_context(|| format!("{} is no key", key_path.display()))?;
                Ok(Self { issuer: Issuer::new(params(world, &key), key) })
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot read {}", key_path.display()))
            }
            _ => {
                let key = KeyPair::generate()?;
                let params = params(world, &key);
                write(&key_path, &key.serialize_pem(), 0o600)?;
                write(&dir.certificate(), &params.self_signed(&key)?.pem(), 0o644)?;
                Ok(Self { issuer: Issuer::new(params, key) })
            }
        }
    }

    /// Writes a new leaf called `distribution` for `names` and `addresses`, good for `span` from now.
    ///
    /// # Errors
    /// The file system refuses, or a name is none.
    pub(crate) fn issue(
        &self,
        dir: &AuthorityDir,
        distribution: &str,
        names: &[String],
        addresses: &[IpAddr],
        span: Duration,
    ) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(names.to_vec()).context("a name of a distribution")?;
        leaf.subject_alt_names.extend(addresses.iter().map(|&address| SanType::IpAddress(address)));
        leaf.distinguished_name = called(names.first().map_or(distribution, String::as_str));
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.use_authority_key_identifier_extension = true;
        (leaf.not_before, leaf.not_after) = span_from_now(span);
        let leaf = leaf.signed_by(&key, &self.issuer)?;
        // The key first: whoever finds a new leaf finds its key.
        write(&dir.key(distribution), &key.serialize_pem(), 0o600)?;
        write(&dir.chain(distribution), &leaf.pem(), 0o644)
    }
}

/// Writes a new leaf for every distribution that speaks HTTPS with viewers, and for every origin of the world's own that
/// speaks it with edges.
///
/// # Errors
/// The file system refuses.
pub(crate) fn issue_all(world: &WorldDir, cluster: &Cluster) -> anyhow::Result<()> {
    let dir = world.authority();
    let authority = Authority::open(&dir, world.name())?;
    for (id, plan) in cluster.https_origins() {
        let mut names = vec![own_name(id), origin_protocol::own_name(&plan.origin).to_owned()];
        names.dedup();
        authority.issue(&dir, &leaf_of_origin(id), &names, &[plan.address.ip()], cluster.edge.certificate_span)?;
    }
    if !cluster.edge.https {
        return Ok(());
    }
    // Whoever asks for an address is served by the first distribution, where there is one alone.
    let edges: Vec<IpAddr> =
        cluster.nodes_with(Role::Edge).flat_map(|plan| plan.addresses.https().map(|address| address.ip())).collect();
    for (at, distribution) in cluster.distributions.iter().enumerate() {
        let mut names_and_local: Vec<String> = distribution.certificate_names().collect();
        if at == 0 {
            names_and_local.push("localhost".into());
        }
        let addresses = if at == 0 { edges.as_slice() } else { &[] };
        authority.issue(&dir, distribution.id(), &names_and_local, addresses, cluster.edge.certificate_span)?;
    }
    Ok(())
}

/// The authority's own certificate, in PEM.
///
/// # Errors
/// The file system refuses.
pub(crate) fn certificate_pem(world: &WorldDir) -> anyhow::Result<String> {
    read(&world.authority().certificate())
}

/// The leaf that an origin shows, and its key, in PEM.
///
/// # Errors
/// The file system refuses.
pub(crate) fn origin_identity(world: &WorldDir, origin: &str) -> anyhow::Result<Identity> {
    let (dir, leaf) = (world.authority(), leaf_of_origin(origin));
    Ok(Identity { chain_pem: read(&dir.chain(&leaf))?, key_pem: read(&dir.key(&leaf))? })
}

/// What the leaf of an origin is called; distributions have no dot in their ids.
fn leaf_of_origin(origin: &str) -> String {
    format!("origin.{origin}")
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What an edge needs to speak HTTPS: the leaf of every distribution.
///
/// # Errors
/// The file system refuses.
pub(crate) fn certificates(world: &WorldDir, distributions: &[Arc<Distribution>]) -> anyhow::Result<Vec<Certificate>> {
    let dir = world.authority();
    let certificate = |distribution: &Arc<Distribution>| {
        Ok(Certificate {
            names: distribution.certificate_names().collect(),
            chain_pem: read(&dir.chain(distribution.id()))?,
            key_pem: read(&dir.key(distribution.id()))?,
            security_policy: distribution.security_policy(),
            http2: distribution.http_version().http2(),
            http3: distribution.http_version().http3(),
        })
    };
    distributions.iter().map(certificate).collect()
}

fn params(world: &str, key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Authorities of several worlds, or of one that was made anew, are told apart by their keys.
    let print: String = key.subject_public_key_info().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = called(&format!("Isochrone, world {world}, {print}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("test".into()),
            GeneralSubtree::DnsName("localhost".into()),
            GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0])),
            GeneralSubtree::IpAddress(CidrSubnet::V6(Ipv6Addr::LOCALHOST.octets(), [0xff; 16])),
            // Edges may stand anywhere in fc00::/7.
            GeneralSubtree::IpAddress(CidrSubnet::V6(
                [0xfc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                [0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            )),
        ],
        excluded_subtrees: Vec::new(),
    });
    (params.not_before, params.not_after) = span_from_now(AUTHORITY_SPAN);
    params
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

/// A little before now, and `span` after it.
fn span_from_now<T: From<SystemTime>>(span: Duration) -> (T, T) {
    let now = SystemTime::now();
    ((now - BEFORE.min(span)).into(), (now + span).into())
}

/// Writes a file in one step.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(&part);
    let mut file = file.with_context(|| format!("cannot write {}", part.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", part.display()))?;
    fs::rename(&part, path).with_context(|| format!("cannot write {}", path.display()))
}
