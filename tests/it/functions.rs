//! Viewer functions, as the owner of an app meets them: written beside the cluster file, tried alone, run by every edge.

use crate::harness::{World, text};

const REWRITE: &str = "\
import cf from 'cloudfront';
async function handler(event) {
  const request = event.request;
  const to = await cf.kvs().get(request.uri);
  console.log('to', to);
  return { statusCode: 302, headers: { location: { value: to } } };
}
";

const EVENT: &str = r#"{ "version": "1.0", "context": { "eventType": "viewer-request" },
  "viewer": { "ip": "198.51.100.11" },
  "request": { "method": "GET", "uri": "/old", "querystring": {}, "headers": {}, "cookies": {} } }"#;

#[test]
fn a_function_is_tried_alone_and_then_answers_viewers() {
    let world = World::none();
    let home = world.home().to_owned();
    let path = |name: &str| home.join(name).to_string_lossy().into_owned();
    std::fs::write(path("move.js"), REWRITE).unwrap();
    std::fs::write(path("event.json"), EVENT).unwrap();
    std::fs::write(path("moves.json"), r#"{"data": [{"key": "/old", "value": "/new"}]}"#).unwrap();
    let (code, event, store) = (path("move.js"), path("event.json"), path("moves.json"));
    let tested = world.json(&["functions", "test", &code, "--event", &event, "--key-values", &store]);
    assert_eq!(tested["output"]["headers"]["location"]["value"], "/new");
    assert_eq!((&tested["error"], &tested["log"][0]), (&serde_json::Value::Null, &"to /new".into()));
    let failed = world.iso(&["functions", "test", &code, "--event", &event]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stdout).contains("this function has no key value store"), "{}", text(&failed.stdout));

    let world = world.with_file(
        "preset = \"tiny\"\n[functions.move]\nfile = \"move.js\"\nkey_values = \"moves.json\"\n\
         [[distributions.demo.behaviors]]\npath = \"/old*\"\nviewer_request = \"move\"\n",
    );
    let answer = |path: &str| {
        let url = format!("http://www.demo.test{path}");
        world.curl("tokyo", &["-o", "/dev/null", "-w", "%{http_code} %header{location} %header{x-cache}", &url])
    };
    assert_eq!(answer("/old"), "302 /new FunctionGeneratedResponse from cloudfront");
    assert_eq!(answer("/older"), "503  FunctionExecutionError from cloudfront");
}

#[test]
fn a_function_chooses_an_origin_alone_and_in_a_world() {
    let world = World::none();
    let home = world.home().to_owned();
    let path = |name: &str| home.join(name).to_string_lossy().into_owned();
    let code = "import cf from 'cloudfront';\nfunction handler(event) {\n  \
                cf.selectRequestOriginById('spare', { hostHeader: 'spare.example.com' });\n  return event.request;\n}\n";
    std::fs::write(path("choose.js"), code).unwrap();
    std::fs::write(path("event.json"), EVENT).unwrap();
    let (code, event) = (path("choose.js"), path("event.json"));
    let tested = world.json(&["functions", "test", &code, "--event", &event]);
    let said = serde_json::json!([{"selectRequestOriginById": ["spare", {"hostHeader": "spare.example.com"}]}]);
    assert_eq!((&tested["origins"], &tested["notes"]), (&said, &serde_json::json!([])));
    let shown = text(&world.iso(&["functions", "test", &code, "--event", &event]).stdout);
    assert!(shown.contains("origin   cf.selectRequestOriginById(\"spare\", {"), "{shown}");

    for name in ["app", "spare"] {
        std::fs::create_dir(home.join(name)).unwrap();
        std::fs::write(home.join(name).join("page"), format!("from {name}")).unwrap();
    }
    let world = world.with_file(
        "preset = \"tiny\"\n[functions.choose]\nfile = \"choose.js\"\n[origins.app]\ndir = \"app\"\n\
         [origins.spare]\ndir = \"spare\"\n[[distributions.demo.behaviors]]\npath = \"/page\"\nviewer_request = \"choose\"\n",
    );
    assert_eq!(world.curl("tokyo", &["http://www.demo.test/page"]), "from spare");
}

#[test]
fn a_function_that_does_not_load_is_refused_with_its_line() {
    let world = World::none();
    let file = world.home().join("cluster.toml");
    std::fs::write(world.home().join("broken.js"), "function handler(event) {\n  return event.request;\n").unwrap();
    std::fs::write(&file, "[functions.broken]\nfile = \"broken.js\"\n").unwrap();
    let output = world.iso(&["config", "check", &file.to_string_lossy()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cluster.toml:2") && said.contains("SyntaxError"), "{said}");
}
