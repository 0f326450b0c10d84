//! Routes that change something: nodes, faults, links, drains, policies, keys, the end.

use std::sync::Arc;

use axum::{Json as Reply, extract::State};

use crate::{
    ask::{ConfigAsk, DrainAsk, FaultAsk, HealAsk, KeyAsk, LinkAsk, RoutingAsk, StopAsk},
    check,
    desired::{Drain, FaultId, Heal, Stop},
    extract::{Asked, Json, JsonOrDefault, Segment},
    plane::{Plane, carry_out},
    respond::Refusal,
    wire::{Accepted, Acted, Drained, Faults, KeyGroupsReport, LinksReport, Routing},
};

type Shared = State<Arc<Plane>>;

pub(super) async fn handle_kill(
    plane: Shared,
    target: Segment,
    ask: JsonOrDefault<StopAsk>,
) -> Result<Reply<Acted>, Refusal> {
    stop(plane, target, ask, Stop::Kill).await
}

pub(super) async fn handle_pause(
    plane: Shared,
    target: Segment,
    ask: JsonOrDefault<StopAsk>,
) -> Result<Reply<Acted>, Refusal> {
    stop(plane, target, ask, Stop::Pause).await
}

async fn stop(
    State(plane): Shared,
    Segment(target): Segment,
    JsonOrDefault(ask): JsonOrDefault<StopAsk>,
    how: Stop,
) -> Result<Reply<Acted>, Refusal> {
    let lasts = check::duration(ask.for_ms, plane.config.limits.fault_for_max)?;
    let nodes = plane.state().registry.nodes_called(&target)?;
    let nodes = carry_out(async move { plane.stop(nodes, how, lasts).await }).await?;
    Ok(Reply(Acted { nodes, ends_in_ms: ask.for_ms }))
}

pub(super) async fn handle_start(State(plane): Shared, Segment(target): Segment) -> Result<Reply<Acted>, Refusal> {
    let nodes = plane.state().registry.nodes_called(&target)?;
    let nodes = carry_out(async move { plane.start(nodes).await }).await?;
    Ok(Reply(Acted { nodes, ends_in_ms: None }))
}

pub(super) async fn handle_resume(State(plane): Shared, Segment(target): Segment) -> Result<Reply<Acted>, Refusal> {
    let nodes = plane.state().registry.nodes_called(&target)?;
    let nodes = carry_out(async move { plane.resume(nodes).await }).await?;
    Ok(Reply(Acted { nodes, ends_in_ms: None }))
}

pub(super) async fn handle_add_faults(
    State(plane): Shared,
    Json(ask): Json<FaultAsk>,
) -> Result<Reply<Faults>, Refusal> {
    let lasts = check::duration(ask.for_ms, plane.config.limits.fault_for_max)?;
    let faults = check::node_faults(&ask, &plane.state().registry)?;
    let faults = carry_out(async move { plane.add_faults(faults, lasts).await }).await?;
    Ok(Reply(Faults { faults }))
}

pub(super) async fn handle_change_link(
    State(plane): Shared,
    Json(ask): Json<LinkAsk>,
) -> Result<Reply<Faults>, Refusal> {
    let lasts = check::duration(ask.for_ms, plane.config.limits.fault_for_max)?;
    let faults = check::link_faults(&ask, &plane.state().registry)?;
    let faults = carry_out(async move { plane.add_faults(faults, lasts).await }).await?;
    Ok(Reply(Faults { faults }))
}

pub(super) async fn handle_heal(State(plane): Shared, Asked(ask): Asked<HealAsk>) -> Result<Reply<Faults>, Refusal> {
    let heal = meant(&plane, ask)?;
    let is_one = matches!(heal, Heal::Id(_));
    let id = if let Heal::Id(FaultId(id)) = heal { id } else { 0 };
    let faults = carry_out(async move { plane.heal(&heal).await }).await?;
    if is_one && faults.is_empty() {
        return Err(Refusal::NoSuch { what: "fault", id: id.to_string() });
    }
    Ok(Reply(Faults { faults }))
}

fn meant(plane: &Plane, ask: HealAsk) -> Result<Heal, Refusal> {
    let target = match (ask.target, ask.id) {
        (Some(target), None) => target,
        (None, Some(id)) => return Ok(Heal::Id(FaultId(id))),
        _ => return Err(Refusal::invalid("name either target (`all`, a node, a PoP, a link) or id")),
    };
    if target.eq_ignore_ascii_case("all") {
        return Ok(Heal::All);
    }
    let state = plane.state();
    let link = target.to_ascii_lowercase();
    if state.desired.link_faults().iter().any(|fault| fault.is_called(&link)) {
        return Ok(Heal::Link(link));
    }
    // A link without a fault is as healed as can be.
    if let Some((a, b)) = link.split_once("<->").or_else(|| link.split_once("->")) {
        state.registry.site_called(a)?;
        state.registry.site_called(b)?;
        return Ok(Heal::Link(link));
    }
    let around = state.registry.around(&target)?;
    Ok(Heal::At { nodes: around.nodes, sites: around.sites })
}

pub(super) async fn handle_drain(plane: Shared, ask: Json<DrainAsk>) -> Result<Reply<Drained>, Refusal> {
    drain(plane, ask, Drain::Drain).await
}

pub(super) async fn handle_undrain(plane: Shared, ask: Json<DrainAsk>) -> Result<Reply<Drained>, Refusal> {
    drain(plane, ask, Drain::Undrain).await
}

async fn drain(State(plane): Shared, Json(ask): Json<DrainAsk>, drain: Drain) -> Result<Reply<Drained>, Refusal> {
    let pop = plane.state().registry.pop_called(&ask.pop)?;
    let drained = carry_out(async move { plane.set_drained(pop, drain).await }).await?;
    Ok(Reply(Drained { drained }))
}

/// The word that gives a distribution the world's policy.
const DEFAULT: &str = "default";

pub(super) async fn handle_set_routing(
    State(plane): Shared,
    Json(ask): Json<RoutingAsk>,
) -> Result<Reply<Routing>, Refusal> {
    let (distribution, policy) = {
        let registry = &plane.state().registry;
        let distribution = ask.distribution.as_deref().map(|name| registry.distribution_called(name)).transpose()?;
        let is_default = distribution.is_some() && ask.policy.trim().eq_ignore_ascii_case(DEFAULT);
        let policy = if is_default { None } else { Some(registry.policy_called(&ask.policy)?) };
        (distribution, policy)
    };
    carry_out(async move { plane.set_policy(distribution, policy).await.map(Reply) }).await
}

pub(super) async fn handle_set_key(
    State(plane): Shared,
    Json(KeyAsk { group, id, pem }): Json<KeyAsk>,
) -> Result<Reply<KeyGroupsReport>, Refusal> {
    {
        let state = plane.state();
        let groups = state.desired.key_groups();
        let Some(keys) = groups.get(&group) else {
            return Err(Refusal::NoSuch { what: "key group", id: group });
        };
        match &pem {
            Some(pem) => check::key(&id, pem)?,
            None if !keys.contains_key(&id) => return Err(Refusal::NoSuch { what: "key", id }),
            None if keys.len() == 1 => {
                return Err(Refusal::invalid(format!(
                    "{id} is the last key of {group}: who trusts it would trust nobody"
                )));
            }
            None => {}
        }
    }
    carry_out(async move { plane.set_key(&group, &id, pem).await.map(Reply) }).await
}

pub(super) async fn handle_configure(
    State(plane): Shared,
    Json(ConfigAsk { nodes: named, config }): Json<ConfigAsk>,
) -> Result<Reply<Acted>, Refusal> {
    let nodes = {
        let state = plane.state();
        let caches = state.registry.caches();
        let mut nodes = Vec::new();
        for name in &named {
            for node in state.registry.nodes_called(name)? {
                if !caches.contains(&node) {
                    return Err(Refusal::invalid(format!("{node} is no cache: it has no distributions")));
                }
                nodes.push(node);
            }
        }
        if named.is_empty() { caches } else { nodes }
    };
    let whole = named.is_empty();
    let nodes = carry_out(async move { plane.configure(nodes, config, whole).await }).await?;
    Ok(Reply(Acted { nodes, ends_in_ms: None }))
}

pub(super) async fn handle_measure_links(State(plane): Shared) -> Result<Reply<LinksReport>, Refusal> {
    carry_out(async move {
        let report = plane.within(plane.config.limits.measure_timeout, plane.hands.measure_links()).await?;
        plane.links_measured(report.clone());
        Ok(Reply(report))
    })
    .await
}

pub(super) async fn handle_shutdown(State(plane): Shared) -> Result<Reply<Accepted>, Refusal> {
    carry_out(async move {
        plane.tell("shutdown", None, "the world is being stopped");
        plane.act(plane.hands.shutdown()).await?;
        Ok(Reply(Accepted { status: "stopping".into() }))
    })
    .await
}
