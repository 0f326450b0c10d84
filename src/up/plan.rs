//! From the command line and a cluster file to a checked world.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    path::{Path, PathBuf},
    time::Duration,
};

use cdn_core::routing::PolicyKind;
use indexmap::IndexMap;
use ipnet::Ipv6Net;
use router::PrefixFile;

use crate::{
    args::{ImportOptions, UpArgs},
    cloudfront::Kind,
    cluster::{AppUrl, Cluster, FunctionText, Inputs, WasmRations, ipv6_of},
    cluster_file::{ClusterFile, DEMO, DistributionFile, FunctionFile, GroupFile, OriginFile},
    diagnose::{Complaint, KeyError, Source, read_cluster, read_source},
    ipv6::{self, Ipv6Setting},
    policy_program::wasm_of,
    ports,
    talk::VerbError,
    up::imported::{lay_in, read_import},
    wasm::WasmModule,
};

/// A checked world, with what nodes need to check it again.
pub(crate) struct Plan {
    /// As written, with the command line laid over it.
    pub(crate) file: ClusterFile,
    /// What was found out around it.
    pub(crate) inputs: Inputs,
    /// Checked.
    pub(crate) cluster: Cluster,
    /// What is allowed and probably not meant.
    pub(crate) warnings: Vec<String>,
}

/// Reads and checks what `iso up` was given.
///
/// # Errors
/// [`VerbError::Config`] with one complaint.
pub(crate) fn plan(args: &UpArgs) -> Result<Plan, VerbError> {
    let (mut source, dir, mut file) = match &args.config {
        Some(path) => {
            let source = read_source(path).map_err(config)?;
            let file = read_cluster(&source).map_err(config)?;
            (source, path.parent().map(Path::to_owned).unwrap_or_default(), file)
        }
        None => (command_line(), PathBuf::new(), ClusterFile::default()),
    };
    let Some(path) = &args.import else {
        if args.import_options != ImportOptions::default() {
            let message = "--map, --policies, --function and --public-key go with --import FILE";
            let error = KeyError::new("import", message);
            return Err(config(command_line().complaint(error)));
        }
        return plan_of(file, &source, &dir, args);
    };
    let (from, imported) = read_import(path, &args.import_options)?;
    if args.config.is_none() {
        source = Source { name: from.name.clone(), text: String::new() };
    }
    lay_in(&mut file, imported.file).map_err(|error| config(command_line().complaint(error)))?;
    let mut plan = plan_of(file, &source, &dir, args)?;
    let said = imported.report.said(&from.name);
    plan.warnings.extend(said.into_iter().filter(|(kind, _)| *kind != Kind::Ignored).map(|(_, text)| text));
    Ok(plan)
}

/// Checks a world that stands in `source`, whose relative paths begin at `dir`.
///
/// # Errors
/// [`VerbError::Config`] with one complaint.
pub(crate) fn plan_of(file: ClusterFile, source: &Source, dir: &Path, args: &UpArgs) -> Result<Plan, VerbError> {
    let written = file.clone();
    let mut file = absolute_paths(file, dir)?;
    lay_over(&mut file, args).map_err(|error| config(command_line().complaint(error)))?;
    // A wrong value is shown where it was written: in the file, or on the command line.
    let complain = |error: KeyError| {
        let from_file = error.key.first().is_some_and(|key| is_same_section(key, &written, &file));
        config(if from_file { source.complaint(error) } else { command_line().complaint(error) })
    };
    let mut warnings = Vec::new();
    let mut inputs = Inputs { base_port: file.base_port, ..Inputs::default() };
    inputs.matrix = matrix_of(&file).map_err(&complain)?;
    inputs.zones = zones_of(&file, &written).map_err(&complain)?;
    inputs.keys = keys_of(&file).map_err(&complain)?;
    inputs.authorities = authorities_of(&file).map_err(&complain)?;
    inputs.functions = functions_of(&file).map_err(&complain)?;
    inputs.ipv6 = ipv6_network(&file).map_err(&complain)?;
    for (id, origin) in &file.origins {
        let Some(url) = &origin.url else { continue };
        let key = format!("origins.{id}.url");
        let app = AppUrl::parse(url).map_err(|why| complain(KeyError::new(&key, why)))?;
        let (addresses, warning) = addresses_of(id, &app).map_err(|why| complain(KeyError::new(&key, why)))?;
        inputs.apps.insert(id.clone(), addresses);
        warnings.extend(warning);
    }
    for (id, origin) in &file.origins {
        if let Some(dir) = origin.dir.as_ref().filter(|dir| !dir.is_dir()) {
            warnings.push(format!("origin {id}: there is no directory {}; it answers 503", dir.display()));
        }
    }
    // Routers read it themselves; a mistake in it is better known before the world is there.
    let prefixes = [("geoip", file.router.geoip.clone().map(PrefixFile::MaxMind))]
        .into_iter()
        .chain([("prefixes", file.router.prefixes.clone().map(PrefixFile::Csv))]);
    for (key, prefixes) in prefixes.filter_map(|(key, prefixes)| Some((key, prefixes?))) {
        let key = format!("router.{key}");
        prefixes.load(&[]).map_err(|error| complain(KeyError::new(&key, error.to_string())))?;
    }
    if let Some(module) = &file.router.program
        && let Some(module) = wasm_of(module, file.router.program_dir.as_deref())
    {
        let checked = WasmModule::read(&module, WasmRations::default()).and_then(|module| module.check_router());
        checked.map_err(|why| complain(KeyError::new("router.program", why)))?;
    }
    if file.base_port == Some(0) {
        inputs.base_port = None;
        // The check needs some block; which one is free is known once it says what listens.
        let trial = Inputs { base_port: Some(ports::PortBlock::BASE_DEFAULT), ..inputs.clone() };
        let cluster = Cluster::check(&file, &trial).map_err(&complain)?;
        inputs.base_port = Some(free_ports(&cluster)?);
    }
    let cluster = Cluster::check(&file, &inputs).map_err(&complain)?;
    warnings.extend(cluster.warnings.iter().cloned());
    Ok(Plan { file, inputs, cluster, warnings })
}

/// The keys and functions that stand in files of their own.
///
/// # Errors
/// One of them cannot be read.
pub(crate) fn read_beside(file: &ClusterFile) -> Result<Inputs, KeyError> {
    Ok(Inputs { keys: keys_of(file)?, functions: functions_of(file)?, ..Inputs::default() })
}

/// The first port of a block in which all that `cluster` listens on is free.
///
/// # Errors
/// There is none.
pub(crate) fn free_ports(cluster: &Cluster) -> Result<u16, VerbError> {
    let block = ports::free_block(|block| cluster.listens_on_at(block));
    let block = block.ok_or_else(|| VerbError::Failed(anyhow::anyhow!("there is no free block of ports")))?;
    Ok(block.base())
}

/// Checks a file on its own, as `iso config check` does.
///
/// # Errors
/// One complaint.
pub(crate) fn check_file(path: &Path) -> Result<Plan, VerbError> {
    plan(&UpArgs { config: Some(path.to_owned()), ..UpArgs::default() })
}

fn config(complaint: Complaint) -> VerbError {
    VerbError::Config(Box::new(complaint))
}

pub(super) fn command_line() -> Source {
    Source { name: "command line".into(), text: String::new() }
}

/// Whether a top-level key holds what the file says, untouched by the command line.
fn is_same_section(key: &str, written: &ClusterFile, merged: &ClusterFile) -> bool {
    match key {
        "seed" => written.seed.is_some() && written.seed == merged.seed,
        "preset" => written.preset.is_some() && written.preset == merged.preset,
        "pops" => written.pops.is_some() && written.pops == merged.pops,
        "regional" => written.regional == merged.regional && !written.regional.is_empty(),
        "shield" => written.shield.is_some() && written.shield == merged.shield,
        "base_port" => written.base_port.is_some() && written.base_port == merged.base_port,
        "groups" => written.groups == merged.groups && !written.groups.is_empty(),
        "distributions" => written.distributions == merged.distributions && !written.distributions.is_empty(),
        "origins" => written.origins.keys().eq(merged.origins.keys()) && !written.origins.is_empty(),
        _ => true,
    }
}

/// Paths in a file are relative to it; nodes run elsewhere.
fn absolute_paths(mut file: ClusterFile, dir: &Path) -> Result<ClusterFile, VerbError> {
    let here = std::env::current_dir()?;
    let absolute = |path: &mut PathBuf| *path = here.join(dir).join(&*path);
    paths_mut(&mut file).for_each(absolute);
    if file.router.program.is_some() {
        absolute(file.router.program_dir.get_or_insert_default());
    }
    Ok(file)
}

/// All paths of a file, but for where its program is started.
pub(crate) fn paths_mut(file: &mut ClusterFile) -> impl Iterator<Item = &mut PathBuf> {
    let origins = file.origins.values_mut().flat_map(|origin| origin.dir.iter_mut().chain(&mut origin.ca));
    let keys = file.key_groups.values_mut().flat_map(IndexMap::values_mut).filter(|path| pem_of(path).is_none());
    let functions = file.functions.values_mut();
    let functions = functions.flat_map(|function| [&mut function.file].into_iter().chain(&mut function.key_values));
    let router = &mut file.router;
    let networks = router.geoip.iter_mut().chain(&mut router.prefixes).chain(&mut router.zones);
    origins.chain(&mut file.world.matrix).chain(keys).chain(functions).chain(networks)
}

/// Lays the command line over a file.
fn lay_over(file: &mut ClusterFile, args: &UpArgs) -> Result<(), KeyError> {
    if let Some(preset) = &args.preset {
        file.preset = Some(preset.clone());
        file.pops = None;
    }
    if !args.pops.is_empty() {
        file.pops = Some(args.pops.iter().map(|code| code.trim().to_owned()).collect());
    }
    file.seed = args.seed.or(file.seed);
    file.base_port = args.base_port.or(file.base_port);
    if let Some(shield) = &args.shield {
        file.shield = Some(shield.clone());
    }
    if let Some(line) = &args.router {
        file.router.program = Some(line.clone());
        file.router.program_dir = std::env::current_dir().ok();
        file.router.policy = Some(PolicyKind::Program.as_str().to_owned());
    }
    for text in &args.origins {
        let (id, origin) = origin_of("--origin", text)?;
        file.origins.insert(id, origin);
    }
    if let Some(text) = &args.failover {
        let members: Vec<String> = text.split(',').map(|id| id.trim().to_owned()).collect();
        let members: [String; 2] = members.try_into().map_err(|_| {
            KeyError::new("failover", format!("--failover takes two origins, not {text:?}"))
                .hint("--failover app,spare")
        })?;
        let group = GroupFile { members, failover_codes: None, on_transport_error: None, cloudfront: IndexMap::new() };
        file.groups.insert("failover".into(), group);
        // It is what the default behavior asks from now on.
        let last = file.groups.len() - 1;
        file.groups.move_index(last, 0);
    }
    if (args.cache.is_some() || !args.hosts.is_empty()) && file.distributions.is_empty() {
        file.distributions.insert(DEMO.into(), DistributionFile::default());
    }
    if let Some((id, first)) = file.distributions.first_mut() {
        if !args.hosts.is_empty() {
            // One name more, not another name: those that it has by default stay.
            let mut hosts = first.hosts_of(id);
            hosts.extend(args.hosts.iter().cloned());
            first.hosts = Some(hosts);
        }
        if let Some(policy) = &args.cache {
            first.default.cache_policy = Some(policy.clone());
        }
    }
    Ok(())
}

/// Reads `ID=WHAT@SITE`, which `option` was given: `app=http://127.0.0.1:3000@us-east-1`, `spare=./dir@eu-west-1`, `lab=sim@ap-northeast-1`.
pub(super) fn origin_of(option: &str, text: &str) -> Result<(String, OriginFile), KeyError> {
    let refuse = |why: &str| {
        KeyError::new("origin", format!("{option} {text:?}: {why}"))
            .hint(format!("{option} app=http://127.0.0.1:3000@us-east-1, or {option} spare=./dir@eu-west-1"))
    };
    let (id, rest) = text.split_once('=').ok_or_else(|| refuse("it names no id"))?;
    let (what, site) = match rest.rsplit_once('@') {
        Some((what, site)) => (what, Some(site.to_owned())),
        None => (rest, None),
    };
    if what.is_empty() || id.is_empty() || site.as_deref() == Some("") {
        return Err(refuse("something is missing"));
    }
    let mut origin = OriginFile { site, ..OriginFile::default() };
    if what.contains("://") {
        origin.url = Some(what.to_owned());
    } else if what != "sim" {
        let here = std::env::current_dir().map_err(|error| refuse(&error.to_string()))?;
        origin.dir = Some(here.join(what));
    }
    Ok((id.to_owned(), origin))
}

fn matrix_of(file: &ClusterFile) -> Result<Option<String>, KeyError> {
    let Some(path) = &file.world.matrix else { return Ok(None) };
    let read = std::fs::read_to_string(path);
    read.map(Some).map_err(|error| KeyError::new("world.matrix", format!("cannot read {}: {error}", path.display())))
}

/// The texts of zone files, under the names by which `written` calls them.
fn zones_of(file: &ClusterFile, written: &ClusterFile) -> Result<Vec<Source>, KeyError> {
    let read = |(at, (path, written)): (usize, (&PathBuf, &PathBuf))| {
        let text = std::fs::read_to_string(path).map_err(|error| {
            KeyError::new(&format!("router.zones.{at}"), format!("cannot read {}: {error}", path.display()))
        })?;
        Ok(Source { name: written.display().to_string(), text })
    };
    file.router.zones.iter().zip(&written.router.zones).enumerate().map(read).collect()
}

/// The key itself, where it is written in the place of its file.
pub(crate) fn pem_of(written: &Path) -> Option<&str> {
    written.to_str().filter(|text| text.starts_with("-----BEGIN "))
}

/// The texts of public keys, by key group and id.
fn keys_of(file: &ClusterFile) -> Result<BTreeMap<String, BTreeMap<String, String>>, KeyError> {
    let read = |group: &str, id: &str, path: &Path| {
        let text = pem_of(path).map_or_else(|| std::fs::read_to_string(path), |text| Ok(text.to_owned()));
        text.map_err(|error| {
            KeyError::new(&format!("key_groups.{group}.{id}"), format!("cannot read {}: {error}", path.display()))
        })
    };
    let keys_of = |(group, keys): (&String, &IndexMap<String, PathBuf>)| {
        let texts = keys.iter().map(|(id, path)| Ok((id.clone(), read(group, id, path)?)));
        Ok((group.clone(), texts.collect::<Result<_, _>>()?))
    };
    file.key_groups.iter().map(keys_of).collect()
}

/// The texts of certificates that origins' own have to lead to, by origin.
fn authorities_of(file: &ClusterFile) -> Result<BTreeMap<String, String>, KeyError> {
    let with_authorities = file.origins.iter().filter_map(|(id, origin)| Some((id, origin.ca.as_ref()?)));
    let read = |(id, path): (&String, &PathBuf)| match std::fs::read_to_string(path) {
        Ok(text) => Ok((id.clone(), text)),
        Err(error) => {
            Err(KeyError::new(&format!("origins.{id}.ca"), format!("cannot read {}: {error}", path.display())))
        }
    };
    with_authorities.map(read).collect()
}

/// The code of viewer functions by name, with their key value stores.
fn functions_of(file: &ClusterFile) -> Result<BTreeMap<String, FunctionText>, KeyError> {
    let read = |name: &str, key: &str, path: &Path| {
        std::fs::read_to_string(path).map_err(|error| {
            KeyError::new(&format!("functions.{name}.{key}"), format!("cannot read {}: {error}", path.display()))
        })
    };
    let text = |(name, written): (&String, &FunctionFile)| {
        let code = read(name, "file", &written.file)?;
        let key_values = written.key_values.as_deref().map(|path| read(name, "key_values", path)).transpose()?;
        Ok((name.clone(), FunctionText { code, key_values }))
    };
    file.functions.iter().map(text).collect()
}

/// The network in which this machine lets edges listen for IPv6.
fn ipv6_network(file: &ClusterFile) -> Result<Option<Ipv6Net>, KeyError> {
    match ipv6_of(file)? {
        Ipv6Setting::Off => Ok(None),
        Ipv6Setting::Auto => Ok(ipv6::found()),
        Ipv6Setting::In(net) => match ipv6::check(net) {
            Ok(()) => Ok(Some(net)),
            Err(why) => Err(KeyError::new("edge.ipv6", format!("{net}: {why}"))
                .hint(format!("`{}`, or \"auto\"", ipv6::command(net)))),
        },
    }
}

/// Addresses of an app, the one that answers first; a warning where none does.
fn addresses_of(id: &str, app: &AppUrl) -> Result<(Vec<SocketAddr>, Option<String>), String> {
    let resolved = (app.host.as_str(), app.port)
        .to_socket_addrs()
        .map_err(|error| format!("the name {:?} has no address: {error}", app.host))?;
    let mut addresses: Vec<SocketAddr> = resolved.collect();
    // Every app of `localhost` may listen on one family only, whichever the system's resolver prefers.
    addresses.sort_by_key(|address| !address.is_ipv4());
    addresses.dedup();
    if addresses.is_empty() {
        return Err(format!("the name {:?} has no address", app.host));
    }
    let mut why = String::new();
    for (at, address) in addresses.iter().enumerate() {
        match TcpStream::connect_timeout(address, Duration::from_millis(500)) {
            Ok(_) => {
                addresses.swap(0, at);
                return Ok((addresses, None));
            }
            Err(error) => {
                if why.is_empty() {
                    why = error.to_string();
                }
            }
        }
    }
    let warning = format!("origin {id} does not answer at {}: {why}; the world starts without it", app.authority());
    Ok((addresses, Some(warning)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_on_the_command_line_are_apps_directories_or_simulated() {
        let (id, app) = origin_of("--origin", "app=http://127.0.0.1:3000@us-east-1").unwrap();
        assert_eq!((id.as_str(), app.url.as_deref()), ("app", Some("http://127.0.0.1:3000")));
        assert_eq!(app.site.as_deref(), Some("us-east-1"));
        let (_, dir) = origin_of("--origin", "spare=./dir@eu-west-1").unwrap();
        assert!(dir.dir.is_some_and(|dir| dir.is_absolute() && dir.ends_with("dir")));
        let (_, simulated) = origin_of("--origin", "lab=sim@tokyo").unwrap();
        assert_eq!((simulated.url, simulated.dir), (None, None));
        for wrong in ["", "app", "=x", "app=", "app=x@"] {
            assert!(origin_of("--origin", wrong).is_err(), "{wrong:?}");
        }
    }

    /// What the first distribution of a file answers to, with `--host` names laid over it; and the name to try.
    fn names(text: &str, more: &[&str]) -> (Vec<String>, String) {
        let source = Source { name: "cluster.toml".into(), text: text.into() };
        let mut file = read_cluster(&source).unwrap_or_else(|error| panic!("{error}"));
        let args = UpArgs { hosts: more.iter().map(ToString::to_string).collect(), ..UpArgs::default() };
        lay_over(&mut file, &args).unwrap();
        let cluster = Cluster::check(&file, &Inputs::default()).unwrap();
        (cluster.distributions[0].aliases().to_vec(), cluster.first_name().unwrap())
    }

    #[test]
    fn demo_keeps_its_name_until_it_is_given_others() {
        let www = "www.demo.test";
        assert_eq!(names("", &[]), (vec![www.into()], www.into()));
        let written = "[distributions.demo]\ndefault_root_object = \"index.html\"\n";
        assert_eq!(names(written, &[]), (vec![www.into()], www.into()));
        assert_eq!(names(written, &["x.test"]), (vec![www.into(), "x.test".into()], www.into()));
        assert_eq!(names("", &["x.test"]), (vec![www.into(), "x.test".into()], www.into()));
        let none = "[distributions.demo]\nhosts = []\n";
        assert_eq!(names(none, &[]), (vec![], "demo.cdn.test".into()));
        assert_eq!(names(none, &["x.test"]), (vec!["x.test".into()], "x.test".into()));
    }

    #[test]
    fn another_distribution_has_its_own_name_alone() {
        let shop = "[distributions.shop]\n";
        assert_eq!(names(shop, &[]), (vec![], "shop.cdn.test".into()));
        let wild = "[distributions.shop]\nhosts = [\"*.shop.test\"]\n";
        assert_eq!(names(wild, &[]), (vec!["*.shop.test".into()], "shop.cdn.test".into()));
    }

    #[test]
    fn failover_on_the_command_line_becomes_the_first_group() {
        let args = UpArgs {
            origins: vec!["a=sim@us-east-1".into(), "b=sim@eu-west-1".into()],
            failover: Some("a,b".into()),
            base_port: Some(5400),
            ..UpArgs::default()
        };
        let plan = plan(&args).map_err(|error| error.to_string()).unwrap();
        assert_eq!(plan.cluster.distributions[0].behavior_for("/").target(), "failover");
        let three = UpArgs { failover: Some("a,b,c".into()), ..args };
        assert!(super::plan(&three).is_err());
    }
}
