//! Questions and answers as lines of JSON.

use cdn_core::{
    PopCode,
    routing::{Asked, Question},
};
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
struct QuestionJson {
    client: String,
    city: String,
    pops: Vec<AskedJson>,
}

#[derive(Serialize)]
struct AskedJson {
    id: String,
    load: Option<f64>,
    healthy: bool,
    rtt_ms: f64,
}

/// A PoP, or PoPs best first; as an object where a program wants to say more some day.
#[derive(Deserialize)]
#[serde(untagged)]
enum AnswerJson {
    One(String),
    Many(Vec<String>),
    OneNamed { pop: String },
    ManyNamed { pops: Vec<String> },
}

/// The line, with its end. Numbers have as many digits as they are good for.
pub(super) fn question(question: &Question) -> Vec<u8> {
    let rounded = |value: f64, to: f64| (value * to).round() / to;
    let pop = |asked: &Asked| AskedJson {
        id: asked.pop.lower(),
        load: asked.load.map(|load| rounded(load, 1000.0)),
        healthy: asked.is_healthy,
        rtt_ms: rounded(asked.rtt.as_secs_f64() * 1000.0, 10.0),
    };
    let line = QuestionJson {
        client: question.client.to_string(),
        city: question.city.to_lowercase(),
        pops: question.pops.iter().map(pop).collect(),
    };
    // Nothing in there can fail to be JSON.
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The PoPs that a line names, best first; one that cannot be a PoP, by its name; `None` where the line is no answer.
pub(super) fn answer(line: &[u8]) -> Option<Result<Vec<PopCode>, String>> {
    let names = match serde_json::from_slice(line).ok()? {
        AnswerJson::One(pop) | AnswerJson::OneNamed { pop } => vec![pop],
        AnswerJson::Many(pops) | AnswerJson::ManyNamed { pops } => pops,
    };
    if names.is_empty() {
        return None;
    }
    Some(names.into_iter().map(|name| name.parse().map_err(|_| name)).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_question_is_one_line_of_json() {
        let asked = |pop: &str, load| Asked {
            pop: pop.parse().unwrap(),
            load,
            is_healthy: load.is_some(),
            rtt: Duration::from_micros(101_040),
        };
        let asked = Question {
            client: "198.18.63.0/24".parse().unwrap(),
            city: "Lagos".into(),
            pops: vec![asked("FRA", Some(0.4)), asked("LHR", None)],
        };
        let expected = concat!(
            r#"{"client":"198.18.63.0/24","city":"lagos","pops":[{"id":"fra","load":0.4,"healthy":true,"rtt_ms":101.0},"#,
            r#"{"id":"lhr","load":null,"healthy":false,"rtt_ms":101.0}]}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(question(&asked)).unwrap(), expected);
    }

    #[test]
    fn an_answer_is_a_pop_or_a_list_bare_or_named() {
        let pops = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<PopCode>>();
        for line in [r#""fra""#, r#""FRA""#, r#"{"pop":"fra"}"#, r#"["fra"]"#, r#"{"pops":["fra"], "why":"near"}"#] {
            assert_eq!(answer(line.as_bytes()), Some(Ok(pops(&["FRA"]))), "{line}");
        }
        assert_eq!(answer(br#"["fra","lhr"]"#), Some(Ok(pops(&["FRA", "LHR"]))));
        assert_eq!(answer(br#"["fra","frankfurt"]"#), Some(Err("frankfurt".into())));
        for line in ["", "fra", "[]", "{}", "7", "null", r#"{"pop":7}"#, "Traceback (most recent call last):"] {
            assert_eq!(answer(line.as_bytes()), None, "{line}");
        }
    }
}
