//! What would have to change in one configuration so that it says what another does, field by field.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value as Json;

use super::read::is_idle;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Change {
    /// The place in the first configuration, such as `Origins.Items[0].ConnectionTimeout`.
    pub(crate) path: String,
    /// The same for people, such as `Origins[api].ConnectionTimeout`.
    pub(crate) name: String,
    /// What stands there; `None` where nothing does.
    pub(crate) from: Option<Json>,
    /// What would have to.
    pub(crate) to: Option<Json>,
}

/// Members by which items of lists are told apart.
const KEYS: [&str; 5] = ["Id", "PathPattern", "ErrorCode", "HeaderName", "EventType"];

/// What only AWS decides.
const NOT_COMPARED: [&str; 1] = ["CallerReference"];

/// The changes that make `ours` of `theirs`.
pub(crate) fn changes(theirs: &Json, ours: &Json) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(Place { path: "", name: "" }, Some(theirs), Some(ours), &mut changes);
    changes
}

#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a str,
    name: &'a str,
}

impl Place<'_> {
    fn member(&self, member: &str) -> (String, String) {
        let join = |before: &str| if before.is_empty() { member.to_owned() } else { format!("{before}.{member}") };
        (join(self.path), join(self.name))
    }
}

fn compare(place: Place<'_>, theirs: Option<&Json>, ours: Option<&Json>, changes: &mut Vec<Change>) {
    let (theirs, ours) = (theirs.filter(|value| !is_idle(value)), ours.filter(|value| !is_idle(value)));
    match (theirs, ours) {
        (None, None) => {}
        (Some(Json::Object(one)), Some(Json::Object(other))) if is_list(one) || is_list(other) => {
            lists(place, items(one), items(other), changes);
            // `Enabled`, `CachedMethods` and the like stand beside the items.
            for name in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
                if !["Items", "Quantity"].contains(&name.as_str()) {
                    let (path, label) = place.member(name);
                    compare(Place { path: &path, name: &label }, one.get(name), other.get(name), changes);
                }
            }
        }
        (Some(Json::Object(one)), Some(Json::Object(other))) => {
            let more = other.keys().filter(|name| !one.contains_key(*name));
            for name in one.keys().chain(more).filter(|name| !NOT_COMPARED.contains(&name.as_str())) {
                let (path, label) = place.member(name);
                compare(Place { path: &path, name: &label }, one.get(name), other.get(name), changes);
            }
        }
        (theirs, ours) if theirs == ours => {}
        (theirs, ours) => changes.push(Change {
            path: place.path.to_owned(),
            name: place.name.to_owned(),
            from: theirs.cloned(),
            to: ours.cloned(),
        }),
    }
}

fn is_list(members: &serde_json::Map<String, Json>) -> bool {
    members.contains_key("Items")
}

fn items(members: &serde_json::Map<String, Json>) -> &[Json] {
    members.get("Items").and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn key_of(item: &Json) -> Option<&Json> {
    KEYS.iter().find_map(|key| item.get(key))
}

fn lists(place: Place<'_>, theirs: &[Json], ours: &[Json], changes: &mut Vec<Change>) {
    let keyed = theirs.iter().chain(ours).all(|item| key_of(item).is_some());
    if !keyed {
        // Names and codes: their order says nothing.
        let sorted = |items: &[Json]| {
            let mut texts: Vec<String> = items.iter().map(ToString::to_string).collect();
            texts.sort_unstable();
            texts
        };
        if sorted(theirs) != sorted(ours) {
            let whole = |items: &[Json]| (!items.is_empty()).then(|| Json::Array(items.to_vec()));
            let (path, name) = (place.member("Items").0, place.name.to_owned());
            changes.push(Change { path, name, from: whole(theirs), to: whole(ours) });
        }
        return;
    }
    let text = |key: &Json| key.as_str().map_or_else(|| key.to_string(), str::to_owned);
    let find = |items: &[Json], key: &Json| items.iter().position(|item| key_of(item) == Some(key));
    let at = |index: usize, key: &Json| {
        (format!("{}[{index}]", place.member("Items").0), format!("{}[{}]", place.name, text(key)))
    };
    for (index, item) in theirs.iter().enumerate() {
        let Some(key) = key_of(item) else { continue };
        let (path, name) = at(index, key);
        let other = find(ours, key).and_then(|index| ours.get(index));
        compare(Place { path: &path, name: &name }, Some(item), other, changes);
    }
    for (index, item) in ours.iter().enumerate() {
        let Some(key) = key_of(item).filter(|key| find(theirs, key).is_none()) else { continue };
        let (path, name) = at(index, key);
        compare(Place { path: &path, name: &name }, None, Some(item), changes);
    }
    // The first behavior that matches counts, and the first member of a group is asked first.
    let order = |items: &[Json], others: &[Json]| -> Vec<Json> {
        let keys = items.iter().filter_map(key_of).filter(|key| find(others, key).is_some());
        keys.cloned().collect()
    };
    let (before, after) = (order(theirs, ours), order(ours, theirs));
    if place.path.ends_with("CacheBehaviors") && before != after {
        let (path, name) = (place.path.to_owned(), format!("{} (order)", place.name));
        changes.push(Change { path, name, from: Some(before.into()), to: Some(after.into()) });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(theirs: Json, ours: Json, expected: &[&str]) {
        let shown = |value: &Option<Json>| value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let said: Vec<String> = changes(&theirs, &ours)
            .iter()
            .map(|change| {
                format!("{} | {} | {} → {}", change.name, change.path, shown(&change.from), shown(&change.to))
            })
            .collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn items_are_told_apart_by_their_keys() {
        let origins = |items: Json| json!({ "Origins": { "Quantity": 2, "Items": items } });
        check(
            origins(json!([{ "Id": "a", "ConnectionAttempts": 3 }, { "Id": "b" }])),
            origins(json!([{ "Id": "c" }, { "Id": "a", "ConnectionAttempts": 1 }])),
            &[
                "Origins[a].ConnectionAttempts | Origins.Items[0].ConnectionAttempts | 3 → 1",
                "Origins[b] | Origins.Items[1] | {\"Id\":\"b\"} → -",
                "Origins[c] | Origins.Items[0] | - → {\"Id\":\"c\"}",
            ],
        );
    }

    #[test]
    fn what_says_nothing_is_no_change_and_order_counts_for_behaviors_alone() {
        check(json!({ "A": "", "B": { "Quantity": 0 }, "C": false }), json!({}), &[]);
        let names = |items: Json| json!({ "Aliases": { "Quantity": 2, "Items": items } });
        check(names(json!(["a", "b"])), names(json!(["b", "a"])), &[]);
        let behaviors = |one: &str, other: &str| json!({ "CacheBehaviors": { "Quantity": 2, "Items": [{ "PathPattern": one }, { "PathPattern": other }] } });
        let said = ["CacheBehaviors (order) | CacheBehaviors | [\"a\",\"b\"] → [\"b\",\"a\"]"];
        check(behaviors("a", "b"), behaviors("b", "a"), &said);
    }
}
