//! What is answered to a question: RFC 1034, section 4.3.2, as amended by RFC 6672, section 3.2.

use super::{
    Data, NAME_BYTES_MAX, Name, RecordSet, RecordType, Zones,
    name::suffixes,
    zones::{CutKind, Node},
};

/// What a whole answer says of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerCode {
    /// It exists, or others know.
    NoError,
    /// It does not exist, nor anything below it (RFC 8020).
    NxDomain,
    /// A DNAME would make it too long (RFC 6672, section 2.2).
    YxDomain,
    /// It lies in none of our zones.
    Refused,
}

/// An answer to a question. Borrows what stands in the zones.
#[derive(Clone, Debug)]
pub struct Answer<'z> {
    /// What it says of the name.
    pub code: AnswerCode,
    /// Whether our zones hold the name that was asked for (the AA bit).
    pub is_authoritative: bool,
    /// What was asked for, and aliases on the way there.
    pub answer: Section<'z>,
    /// The SOA of a denial (RFC 2308), or the name servers of a referral.
    pub authority: Option<Set<'z>>,
    /// Addresses of what the others name.
    pub additional: Vec<Set<'z>>,
    /// How many sets of `additional`, from its start, a referral is of no use without (RFC 9471, section 3.1).
    pub glue_required: usize,
    /// Whether aliases were left alone because there were too many.
    pub is_cut_short: bool,
}

/// Sets in the order of the answer. The first one takes no memory of its own: most answers have no more.
#[derive(Clone, Debug, Default)]
pub struct Section<'z> {
    first: Option<Set<'z>>,
    more: Vec<Set<'z>>,
}

/// Records of one owner and type.
#[derive(Clone, Debug)]
pub struct Set<'z> {
    /// Whose they are.
    pub owner: Owner<'z>,
    /// What they say.
    pub records: Records<'z>,
}

/// Whose records they are.
#[derive(Clone, Debug)]
pub enum Owner<'z> {
    /// The name that was asked for, in the case in which it was.
    Question,
    /// A name in our zones.
    Known(&'z Name),
    /// A name that a DNAME has made.
    Made(Box<Name>),
}

/// What the records of a set say.
#[derive(Clone, Debug)]
pub enum Records<'z> {
    /// As the zone has it.
    Fixed(&'z RecordSet),
    /// The CNAME that a DNAME stands for (RFC 6672, section 3.1).
    Alias(Box<Alias>),
    /// Of edges, chosen per client.
    Routed {
        /// The host at this position of the router's list.
        host: u32,
        /// A, AAAA or HTTPS.
        wanted: RecordType,
    },
}

/// A CNAME that no zone has. Apart, so that sets stay small: most answers have none.
#[derive(Clone, Debug)]
pub struct Alias {
    /// The DNAME's, in seconds.
    pub ttl_s: u32,
    /// Of which name the owner is an alias.
    pub target: Name,
}

impl<'z> Section<'z> {
    /// The sets.
    pub fn iter(&self) -> impl Iterator<Item = &Set<'z>> {
        self.first.iter().chain(&self.more)
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.first.is_some() as usize + self.more.len()
    }

    fn push(&mut self, set: Set<'z>) {
        if self.first.is_none() {
            self.first = Some(set);
        } else {
            self.more.push(set);
        }
    }
}

impl<'z> Answer<'z> {
    /// An answer without records.
    pub const fn empty(code: AnswerCode, is_authoritative: bool) -> Self {
        Self {
            code,
            is_authoritative,
            answer: Section { first: None, more: vec![] },
            authority: None,
            additional: vec![],
            glue_required: 0,
            is_cut_short: false,
        }
    }

    /// One set under the name that was asked for, whatever our zones say.
    pub fn of(set: &'z RecordSet) -> Self {
        let mut answer = Self::empty(AnswerCode::NoError, true);
        answer.answer.push(Set { owner: Owner::Question, records: Records::Fixed(set) });
        answer
    }

    /// The host whose edges the answer needs, if it does.
    pub fn routed_host(&self) -> Option<usize> {
        self.answer.iter().find_map(|set| match set.records {
            Records::Routed { host, .. } => usize::try_from(host).ok(),
            _ => None,
        })
    }

    /// Whether it says no more than that there is nothing.
    pub fn is_denial(&self) -> bool {
        self.is_authoritative && self.answer.is_empty()
    }

    /// Whether it sends the asker to other name servers.
    pub fn is_referral(&self) -> bool {
        !self.is_authoritative && self.authority.is_some()
    }
}

impl Owner<'_> {
    /// The canonical bytes, where `question` was asked for.
    pub fn bytes<'a>(&'a self, question: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Question => question,
            Self::Known(name) => name.as_bytes(),
            Self::Made(name) => name.as_bytes(),
        }
    }
}

/// Where a name leads.
enum Found<'z> {
    /// Into none of our zones.
    NotOurs,
    /// To what it has, be it by a wildcard.
    Node(&'z Node),
    /// To the apex of a zone, of which the zone above is asked.
    ParentSide(&'z Node, usize),
    /// To other servers.
    Delegation(&'z Name, &'z Node),
    /// To the DNAME of this owner.
    Dname(&'z Name, &'z Node),
    /// To nothing, in this zone.
    NoName(usize),
}

impl Zones {
    /// What is answered about `name` (canonical bytes) to questions of type `wanted`.
    #[inline]
    pub fn answer<'z>(&'z self, name: &[u8], wanted: RecordType) -> Answer<'z> {
        // Most questions are this one, and need not go the whole way.
        if wanted == RecordType::A
            && let Some(Node { cut: None, routed: Some(host), .. }) = self.nodes.get(name)
        {
            let mut answer = Answer::empty(AnswerCode::NoError, true);
            let records = Records::Routed { host: *host, wanted };
            answer.answer.first = Some(Set { owner: Owner::Question, records });
            return answer;
        }
        self.follow(name, wanted)
    }

    /// Looks at `name`, then at what it is an alias of, and so on.
    fn follow<'z>(&'z self, name: &[u8], wanted: RecordType) -> Answer<'z> {
        let mut answer = Answer::empty(AnswerCode::NoError, true);
        let mut owner = Owner::Question;
        for _ in 0..=self.aliases_max {
            match self.step(&mut answer, name, owner, wanted) {
                Some(next) => owner = next,
                None => return answer,
            }
        }
        answer.is_cut_short = true;
        answer
    }

    /// The host that `name` is routed to, be it by aliases.
    pub fn host(&self, name: &[u8]) -> Option<usize> {
        self.answer(name, RecordType::A).routed_host()
    }

    /// Adds what there is under `owner`, and says which name to look at next where that is an alias.
    fn step<'z>(
        &'z self,
        answer: &mut Answer<'z>,
        question: &[u8],
        owner: Owner<'z>,
        wanted: RecordType,
    ) -> Option<Owner<'z>> {
        match self.find(owner.bytes(question), wanted) {
            Found::Node(node) => self.add_node(answer, question, owner, node, wanted),
            Found::NoName(zone) => {
                answer.code = AnswerCode::NxDomain;
                self.deny(answer, zone);
                None
            }
            // What the name is an alias of is not ours to answer; the alias is.
            Found::NotOurs if answer.answer.is_empty() => {
                *answer = Answer::empty(AnswerCode::Refused, false);
                None
            }
            Found::NotOurs => None,
            Found::ParentSide(node, parent) => {
                match &node.ds_at_parent {
                    Some(ds) => answer.answer.push(Set { owner, records: Records::Fixed(ds) }),
                    None => self.deny(answer, parent),
                }
                None
            }
            Found::Delegation(at, node) => {
                // AA speaks of the first owner name in the answer (RFC 1035, section 4.1.1).
                answer.is_authoritative = !answer.answer.is_empty();
                self.refer(answer, question, at, node);
                None
            }
            Found::Dname(at, node) => add_dname(answer, question, owner, at, node, wanted),
        }
    }

    fn find(&self, name: &[u8], wanted: RecordType) -> Found<'_> {
        if let Some(node) = self.nodes.get(name) {
            return match &node.cut {
                // The delegation's own key is known above it alone (RFC 4035, section 3.1.4.1).
                Some(cut)
                    if wanted == RecordType::DS && cut.kind == CutKind::Delegation && cut.at.as_bytes() == name =>
                {
                    Found::Node(node)
                }
                Some(cut) => self.beyond(&cut.at, cut.kind),
                None if wanted == RecordType::DS => match self.zones.get(node.zone) {
                    Some(zone) if zone.apex.as_bytes() == name => {
                        zone.parent.map_or(Found::Node(node), |parent| Found::ParentSide(node, parent))
                    }
                    _ => Found::Node(node),
                },
                None => Found::Node(node),
            };
        }
        let Some((encloser, node)) = suffixes(name).skip(1).find_map(|suffix| self.nodes.get_key_value(suffix)) else {
            return Found::NotOurs;
        };
        if let Some(cut) = &node.cut {
            return self.beyond(&cut.at, cut.kind);
        }
        if node.set(RecordType::DNAME).is_some() {
            return Found::Dname(encloser, node);
        }
        // RFC 4592, section 3.3.1: the wildcard that counts is the one right below the closest encloser. Its NS records,
        // if it has any, are data like others: a wildcard delegates nothing but itself (section 4.2).
        let mut wildcard = [0; 2 + NAME_BYTES_MAX];
        let wildcard = wildcard.get_mut(..2 + encloser.as_bytes().len()).and_then(|wildcard| {
            let (star, rest) = wildcard.split_at_mut(2);
            star.copy_from_slice(b"\x01*");
            rest.copy_from_slice(encloser.as_bytes());
            self.nodes.get(&*wildcard)
        });
        wildcard.map_or(Found::NoName(node.zone), Found::Node)
    }

    /// What is at or below the end of a zone's data.
    fn beyond<'z>(&'z self, at: &'z Name, kind: CutKind) -> Found<'z> {
        match (self.nodes.get(at), kind) {
            (Some(node), CutKind::Delegation) => Found::Delegation(at, node),
            (Some(node), CutKind::Dname) => Found::Dname(at, node),
            (None, _) => Found::NotOurs,
        }
    }

    fn add_node<'z>(
        &'z self,
        answer: &mut Answer<'z>,
        question: &[u8],
        owner: Owner<'z>,
        node: &'z Node,
        wanted: RecordType,
    ) -> Option<Owner<'z>> {
        // Who wants everything gets one set of it (RFC 8482, section 4.1).
        let everything = wanted == RecordType::ANY;
        let fixed = if everything { node.sets.first() } else { node.set(wanted) };
        if let Some(host) = node.routed {
            let routed = match wanted {
                RecordType::A | RecordType::ANY => Some(RecordType::A),
                RecordType::AAAA if self.routed_types.ipv6 => Some(wanted),
                RecordType::HTTPS if self.routed_types.https.is_some() && fixed.is_none() => Some(wanted),
                _ => None,
            };
            if let Some(wanted) = routed {
                answer.answer.push(Set { owner, records: Records::Routed { host, wanted } });
                return None;
            }
        }
        if let Some(set) = fixed {
            answer.answer.push(Set { owner: owner.clone(), records: Records::Fixed(set) });
            self.add_addresses(answer, question, &owner, set);
            return None;
        }
        let Some(set) = node.set(RecordType::CNAME) else {
            self.deny(answer, node.zone);
            return None;
        };
        if has_alias(answer, question, &owner) {
            return None;
        }
        answer.answer.push(Set { owner, records: Records::Fixed(set) });
        match set.data.first() {
            Some(Data::Cname(target)) => Some(Owner::Known(target)),
            _ => None,
        }
    }

    fn deny<'z>(&'z self, answer: &mut Answer<'z>, zone: usize) {
        if let Some(zone) = self.zones.get(zone) {
            answer.authority = Some(Set { owner: Owner::Known(&zone.apex), records: Records::Fixed(&zone.denial) });
        }
    }

    /// Sends the asker to the name servers of `at`, with their addresses as far as we have them (RFC 9471): first those
    /// that nobody else can tell, because they lie where these servers are asked for.
    fn refer<'z>(&'z self, answer: &mut Answer<'z>, question: &[u8], at: &'z Name, node: &'z Node) {
        let Some(servers) = node.set(RecordType::NS) else { return };
        answer.authority = Some(Set { owner: Owner::Known(at), records: Records::Fixed(servers) });
        let (within, others): (Vec<_>, Vec<_>) =
            servers.data.iter().filter_map(Data::additional).partition(|server| server.is_within(at));
        for server in within {
            self.add_glue(answer, question, server);
        }
        answer.glue_required = answer.additional.len();
        for server in others {
            self.add_glue(answer, question, server);
        }
    }

    fn add_glue<'z>(&'z self, answer: &mut Answer<'z>, question: &[u8], server: &'z Name) {
        let node = self.nodes.get(server);
        let node = node.filter(|node| node.cut.as_ref().is_none_or(|cut| cut.kind == CutKind::Delegation));
        for wanted in [RecordType::A, RecordType::AAAA] {
            if let Some(set) = node.and_then(|node| node.set(wanted)) {
                add_additional(answer, question, Owner::Known(server), set);
            }
        }
    }

    /// Adds addresses of the names in `set`, as far as they are ours and the same for everybody.
    fn add_addresses<'z>(&'z self, answer: &mut Answer<'z>, question: &[u8], owner: &Owner<'z>, set: &'z RecordSet) {
        for data in &set.data {
            let (target, binding) = match data {
                // RFC 9460, section 4.1: in alias mode what comes next is another binding.
                Data::Svcb(svcb) | Data::Https(svcb) if svcb.priority == 0 => {
                    (data.additional().map(Owner::Known), Some(set.record_type))
                }
                Data::Svcb(svcb) | Data::Https(svcb) if svcb.target.is_root() => (Some(owner.clone()), None),
                _ => (data.additional().map(Owner::Known), None),
            };
            let Some(target) = target else { continue };
            let Found::Node(node) = self.find(target.bytes(question), RecordType::A) else { continue };
            for wanted in [binding, Some(RecordType::A), Some(RecordType::AAAA)].into_iter().flatten() {
                if let Some(set) = node.set(wanted) {
                    add_additional(answer, question, target.clone(), set);
                }
            }
        }
    }
}

/// The DNAME of `at`, the CNAME that it stands for, and the name that this leads to.
fn add_dname<'z>(
    answer: &mut Answer<'z>,
    question: &[u8],
    owner: Owner<'z>,
    at: &'z Name,
    node: &'z Node,
    wanted: RecordType,
) -> Option<Owner<'z>> {
    let set = node.set(RecordType::DNAME)?;
    let Some(Data::Dname(to)) = set.data.first() else { return None };
    if has_alias(answer, question, &owner) {
        return None;
    }
    if !answer.answer.iter().any(|there| is_same(there, question, at.as_bytes(), set)) {
        answer.answer.push(Set { owner: Owner::Known(at), records: Records::Fixed(set) });
    }
    let Some(target) = Name::rebased(owner.bytes(question), at, to) else {
        answer.code = AnswerCode::YxDomain;
        return None;
    };
    let records = Records::Alias(Box::new(Alias { ttl_s: set.ttl_s, target: target.clone() }));
    answer.answer.push(Set { owner, records });
    // Who asks for the CNAME has it now.
    (wanted != RecordType::CNAME).then(|| Owner::Made(Box::new(target)))
}

/// Whether the answer has an alias of this owner already, so that aliases go round in a circle.
fn has_alias(answer: &Answer<'_>, question: &[u8], owner: &Owner<'_>) -> bool {
    answer.answer.iter().any(|set| {
        let is_alias = match &set.records {
            Records::Fixed(set) => set.record_type == RecordType::CNAME,
            Records::Alias(_) => true,
            Records::Routed { .. } => false,
        };
        is_alias && set.owner.bytes(question) == owner.bytes(question)
    })
}

fn add_additional<'z>(answer: &mut Answer<'z>, question: &[u8], owner: Owner<'z>, set: &'z RecordSet) {
    let is_there = answer
        .answer
        .iter()
        .chain(answer.additional.iter())
        .any(|there| is_same(there, question, owner.bytes(question), set));
    if !is_there {
        answer.additional.push(Set { owner, records: Records::Fixed(set) });
    }
}

fn is_same(there: &Set<'_>, question: &[u8], owner: &[u8], set: &RecordSet) -> bool {
    let is_set = matches!(there.records, Records::Fixed(other) if std::ptr::eq(other, set));
    is_set && there.owner.bytes(question) == owner
}
