//! Key pairs, and the key groups of a running world.

use std::{fs, path::Path};

use anyhow::Context as _;
use control_plane::{KeyGroups, ask::KeyAsk, wire::KeyGroupsReport};
use serde_json::json;

use crate::{
    args::{AddKeyArgs, Cli, KeysVerb, NewKeyArgs, RemoveKeyArgs},
    private_key::PrivateKey,
    talk::VerbError,
    verbs::{api, paint::table, print},
};

const ROUTE: &str = "/v1/key-groups";

/// Does one of the verbs.
pub(super) async fn run(cli: &Cli, verb: &KeysVerb) -> Result<(), VerbError> {
    match verb {
        KeysVerb::New(args) => new(cli, args).await,
        KeysVerb::Add(AddKeyArgs { group, file, id }) => {
            let pem = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let id = id.clone().unwrap_or_else(|| name.split('.').next().unwrap_or_default().to_owned());
            let ask = KeyAsk { group: group.clone(), id, pem: Some(pem) };
            show(cli, &api(cli)?.post(ROUTE, &ask).await?)
        }
        KeysVerb::Remove(RemoveKeyArgs { group, id }) => {
            let ask = KeyAsk { group: group.clone(), id: id.clone(), pem: None };
            show(cli, &api(cli)?.post(ROUTE, &ask).await?)
        }
        KeysVerb::List => show(cli, &api(cli)?.read(ROUTE, &()).await?),
    }
}

/// The keys that the running world trusts.
pub(super) async fn of_world(cli: &Cli) -> Result<KeyGroups, VerbError> {
    let report: KeyGroupsReport = api(cli)?.read(ROUTE, &()).await?;
    let groups = report.groups.into_iter();
    Ok(groups.map(|group| (group.id, group.keys.into_iter().map(|key| (key.id, key.pem)).collect())).collect())
}

fn show(cli: &Cli, report: &KeyGroupsReport) -> Result<(), VerbError> {
    print(cli, report, |report| {
        let rows = report.groups.iter().map(|group| {
            let ids: Vec<&str> = group.keys.iter().map(|key| key.id.as_str()).collect();
            vec![group.id.clone(), ids.join(" ")]
        });
        table(&["GROUP", "KEYS"], rows)
    })
}

/// Makes a key pair, which a running world trusts from then on where it has the group.
async fn new(cli: &Cli, NewKeyArgs { group, pem, kind, dir }: &NewKeyArgs) -> Result<(), VerbError> {
    let beside = pem.as_ref().and_then(|pem| pem.parent().map(Path::to_owned));
    let dir = dir.clone().or(beside).unwrap_or_else(|| "keys".into());
    let (key, private) = match pem {
        Some(path) if path.exists() => (PrivateKey::read(path)?, path.clone()),
        path => {
            let key = PrivateKey::generate(*kind)?;
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
            let path = path.clone().unwrap_or(dir.join(format!("{}.private.pem", key.id()?)));
            key.write_new(&path)?;
            (key, path)
        }
    };
    let id = key.id()?;
    let public = dir.join(format!("{id}.pem"));
    let public_pem = key.public_pem()?;
    fs::write(&public, &public_pem).with_context(|| format!("cannot write {}", public.display()))?;
    let has_group = of_world(cli).await.is_ok_and(|groups| groups.contains_key(group));
    if has_group {
        let ask = KeyAsk { group: group.clone(), id: id.clone(), pem: Some(public_pem) };
        let _: KeyGroupsReport = api(cli)?.post(ROUTE, &ask).await?;
    }
    let document =
        json!({ "group": group, "key_pair_id": id, "private": private, "public": public, "trusted": has_group });
    let now = if has_group { format!("world {} trusts it from now on; ", cli.world) } else { String::new() };
    print(cli, &document, |_| {
        format!(
            "{id}  {}\n  private  {}  sign with it, and keep it to yourself\n  public   {}\n\n{now}in the cluster file:\n\n\
             [key_groups.{group}]\n{id} = {:?}\n\n[[distributions.demo.behaviors]]\npath = \"/private/*\"\n\
             trusted_key_groups = [{group:?}]\n",
            key.public().map_or("", |key| key.kind()),
            private.display(),
            public.display(),
            public.display().to_string(),
        )
    })
}
