//! A world in a container: manifests for Docker Compose and Kubernetes, and the folder that its image is built from.
//!
//! One container runs `iso up`, and nodes are its processes. They listen on loopback as ever: with Compose on that of the
//! host, which has every address of the world then; in a pod on the pod's own, which port-forward and other containers of
//! the pod reach.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::json;

use crate::{
    args::{Cli, ManifestArgs, UpArgs},
    cluster::Cluster,
    cluster_file::ClusterFile,
    ports::PortBlock,
    state::WorldDir,
    talk::{VerbError, tell},
    up::{paths_mut, plan},
    verbs::{cloudfront::world, print, write_out},
};

/// Who runs the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manifest {
    /// Docker Compose.
    Compose,
    /// Kubernetes.
    Kubernetes,
}

/// The image: this program as it is, the world, and curl for `iso curl`.
const DOCKERFILE: &str = "\
# Linux, with a C library not older than where the binary was built.
FROM debian:stable-slim
RUN apt-get update \\
 && apt-get install --yes --no-install-recommends ca-certificates curl \\
 && rm -rf /var/lib/apt/lists/* \\
 && install --directory --owner 65534 --group 65534 /var/lib/iso
COPY --chown=65534:65534 iso /usr/local/bin/iso
COPY --chown=65534:65534 world /world
ENV ISO_HOME=/var/lib/iso
USER 65534:65534
ENTRYPOINT [\"iso\"]
CMD [\"up\", \"--config\", \"/world/cluster.toml\"]
";

/// Prints the manifest, or writes all that it needs.
pub(super) fn run(cli: &Cli, args: &ManifestArgs, kind: Manifest) -> Result<(), VerbError> {
    let (mut file, cluster) = exported(cli, args.config.as_deref())?;
    let manifest = kind.write(&cli.world, &args.image, cluster.ports);
    for note in kind.notes(&file) {
        tell(&format!("note: {note}"));
    }
    let Some(out) = &args.out else {
        let document = json!({ "file": kind.file_name(), "manifest": manifest, "dockerfile": DOCKERFILE });
        if cli.json {
            return print(cli, &document, |_| String::new());
        }
        tell("note: the image is built from a folder that --out DIR writes");
        return write_out(manifest.as_bytes());
    };
    if file.router.program.is_some() {
        let text =
            "[router] program: the image has nothing that could run it; leave it out, and add it to the Dockerfile";
        return Err(VerbError::Usage(text.to_owned()));
    }
    if !args.force && fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(VerbError::Usage(format!("{} is not empty; --force writes into it", out.display())));
    }
    file.base_port = Some(cluster.ports.base());
    write_world(file, &out.join("world"))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    copy(&program, &out.join("iso"))?;
    write(&out.join("Dockerfile"), DOCKERFILE)?;
    write(&out.join(kind.file_name()), &manifest)?;
    let document = json!({ "written": out, "manifest": out.join(kind.file_name()) });
    print(cli, &document, |_| format!("wrote {0}; start it with `{1}`", out.display(), kind.start(out, &args.image)))
}

/// The world of a file, or the one that runs, or the one that would.
fn exported(cli: &Cli, config: Option<&Path>) -> Result<(ClusterFile, Cluster), VerbError> {
    let runs = || WorldDir::new(&cli.world).is_ok_and(|dir| dir.is_running());
    if config.is_some() || cli.world_is_named || runs() {
        return world(cli, config);
    }
    let plan = plan(&UpArgs::default())?;
    Ok((plan.file, plan.cluster))
}

/// Writes the cluster file into `dir`, with copies of all that it names.
fn write_world(mut file: ClusterFile, dir: &Path) -> anyhow::Result<()> {
    for (at, path) in paths_mut(&mut file).enumerate() {
        // What lay in different folders may have one name.
        let name = Path::new(path.file_name().unwrap_or_default());
        let inside = PathBuf::from(format!("files/{at}")).join(name);
        copy(path, &dir.join(&inside))?;
        *path = inside;
    }
    let text = toml::to_string(&file).context("this world cannot be written as TOML")?;
    write(&dir.join("cluster.toml"), &text)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    make_parent(path)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Copies a file, or a directory with all that is in it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot copy {} to {}", from.display(), to.display());
    if !from.is_dir() {
        make_parent(to)?;
        return fs::copy(from, to).map(drop).with_context(cannot);
    }
    fs::create_dir_all(to).with_context(cannot)?;
    for entry in fs::read_dir(from).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn make_parent(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}

impl Manifest {
    const fn file_name(self) -> &'static str {
        match self {
            Self::Compose => "compose.yaml",
            Self::Kubernetes => "kubernetes.yaml",
        }
    }

    fn start(self, out: &Path, image: &str) -> String {
        let out = out.display();
        match self {
            Self::Compose => format!("docker compose --project-directory {out} up --build --wait"),
            Self::Kubernetes => {
                format!("docker build --tag {image} {out} && kubectl apply --filename {out}/kubernetes.yaml")
            }
        }
    }

    /// What is another thing in a container than without one.
    fn notes(self, file: &ClusterFile) -> Vec<String> {
        let apps = file.origins.iter().filter_map(|(id, origin)| Some((id, origin.url.as_ref()?)));
        let apps = apps.filter(|_| self == Self::Kubernetes);
        apps.map(|(id, url)| format!("origin {id} is {url}, asked from inside the pod, whose loopback is its own"))
            .collect()
    }

    fn write(self, world: &str, image: &str, ports: PortBlock) -> String {
        let name = object_name(world);
        // A string of JSON is one of YAML.
        let image = json!(image);
        match self {
            Self::Compose => compose(&name, &image.to_string(), ports),
            Self::Kubernetes => kubernetes(&name, &image.to_string(), ports),
        }
    }
}

/// What a world is called where names are labels of DNS (RFC 1123, section 2.1).
fn object_name(world: &str) -> String {
    let plain = world.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let name: String = "isochrone-".chars().chain(plain).take(63).collect();
    name.trim_end_matches('-').to_owned()
}

fn compose(name: &str, image: &str, ports: PortBlock) -> String {
    let (control, dns, http) = (ports.control(), ports.dns(), ports.edge_http());
    format!(
        "\
# One container runs the world, on Linux. It has the network of its host, so that everything is where `iso up` has it:
# the dashboard at http://{control}/, DNS at {dns}, edges at 127.77.0.k:{http}, and apps of the host as origins.
name: {name}
services:
  world:
    image: {image}
    build: .
    network_mode: host
    restart: unless-stopped
    # Nodes drain before they stop.
    stop_grace_period: 15s
    healthcheck:
      test: [\"CMD\", \"iso\", \"wait\", \"--for\", \"healthy\", \"--timeout\", \"4s\"]
      interval: 5s
      timeout: 5s
      start_period: 30s
"
    )
}

/// The ports on which a pod listens at 127.0.0.1, by the names that Kubernetes has for them.
fn pod_ports(ports: PortBlock) -> [(&'static str, u16); 4] {
    [
        ("control", ports.control().port()),
        ("dns-tcp", ports.dns().port()),
        ("routing", ports.routing().port()),
        ("proxy", ports.proxy().port()),
    ]
}

fn kubernetes(name: &str, image: &str, ports: PortBlock) -> String {
    let listed = |indent: &str, key: &str| -> String {
        let one = |(name, port): (&str, u16)| format!("{indent}- name: {name}\n{indent}  {key}: {port}\n");
        pod_ports(ports).into_iter().map(one).collect()
    };
    let (container_ports, service_ports) = (listed("            ", "containerPort"), listed("    ", "port"));
    let (control, proxy) = (ports.control().port(), ports.proxy().port());
    format!(
        "\
# One pod runs the world. Its nodes listen on the pod's loopback, which is reached by
#   kubectl port-forward service/{name} {control} {proxy}
# and by other containers of the pod; the service is the name for that, and other pods do not get through it.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  # Two would be two worlds.
  replicas: 1
  strategy:
    type: Recreate
  selector:
    matchLabels:
      app.kubernetes.io/name: {name}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {name}
    spec:
      # Nodes drain before they stop.
      terminationGracePeriodSeconds: 15
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
        runAsGroup: 65534
      containers:
        - name: world
          image: {image}
          securityContext:
            allowPrivilegeEscalation: false
          ports:
{container_ports}          readinessProbe:
            exec:
              command: [\"iso\", \"wait\", \"--for\", \"healthy\", \"--timeout\", \"4s\"]
            periodSeconds: 5
            timeoutSeconds: 5
          resources:
            requests:
              cpu: 500m
              memory: 512Mi
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  selector:
    app.kubernetes.io/name: {name}
  ports:
{service_ports}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        cluster::Inputs,
        diagnose::{Source, read_cluster},
        up::check_file,
    };

    fn documents(kind: Manifest, world: &str, image: &str) -> Vec<Value> {
        let text = kind.write(world, image, PortBlock::new(5400).unwrap());
        text.split("\n---\n")
            .map(|one| serde_saphyr::from_str(one).unwrap_or_else(|error| panic!("{error}: {one}")))
            .collect()
    }

    #[test]
    fn a_compose_file_runs_the_image_on_the_network_of_its_host() {
        let documents = documents(Manifest::Compose, "Staging.1", "a: \"b\"");
        let [compose] = documents.as_slice() else { panic!("{documents:?}") };
        assert_eq!(compose["name"], "isochrone-staging-1");
        let world = &compose["services"]["world"];
        assert_eq!((&world["image"], &world["build"]), (&json!("a: \"b\""), &json!(".")));
        assert_eq!(world["network_mode"], "host");
        // Compose refuses ports beside the network of the host.
        assert!(world["ports"].is_null());
        assert_eq!(world["healthcheck"]["test"][1], "iso");
    }

    #[test]
    fn a_service_selects_the_pods_of_the_deployment_and_has_their_ports() {
        let documents = documents(Manifest::Kubernetes, "default", "registry.test/world:1");
        let [deployment, service] = documents.as_slice() else { panic!("{documents:?}") };
        assert_eq!((&deployment["kind"], &deployment["apiVersion"]), (&json!("Deployment"), &json!("apps/v1")));
        assert_eq!((&service["kind"], &service["apiVersion"]), (&json!("Service"), &json!("v1")));
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        assert!(labels["app.kubernetes.io/name"] == "isochrone-default");
        assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(&service["spec"]["selector"], labels);
        let containers = deployment["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        let [container] = containers.as_slice() else { panic!("{containers:?}") };
        assert_eq!(container["image"], "registry.test/world:1");
        let ports = |listed: &Value, key: &str| -> Vec<(String, u64)> {
            let one = |port: &Value| (port["name"].as_str().unwrap().to_owned(), port[key].as_u64().unwrap());
            listed.as_array().unwrap().iter().map(one).collect()
        };
        let listed = ports(&container["ports"], "containerPort");
        assert_eq!(listed, ports(&service["spec"]["ports"], "port"));
        assert_eq!(listed[0], ("control".into(), 5400));
        // Names of ports have at most 15 characters.
        assert!(listed.iter().all(|(name, _)| name.len() <= 15), "{listed:?}");
    }

    #[test]
    fn names_are_labels_of_dns() {
        for (world, expected) in [("default", "isochrone-default"), ("A_b.", "isochrone-a-b"), ("-", "isochrone")] {
            assert_eq!(object_name(world), expected);
        }
        assert_eq!(object_name(&"x".repeat(80)).len(), 63);
    }

    #[test]
    fn a_world_comes_with_all_that_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let (site, zone) = (dir.path().join("site"), dir.path().join("demo.test.zone"));
        fs::create_dir_all(site.join("deep")).unwrap();
        fs::write(site.join("deep/a.html"), "a").unwrap();
        fs::write(&zone, "@ 60 TXT x\n").unwrap();
        let text = format!("[origins.files]\ndir = {site:?}\nsite = \"us-east-1\"\n[router]\nzones = [{zone:?}]\n");
        let file = read_cluster(&Source { name: "cluster.toml".into(), text }).unwrap();
        let out = dir.path().join("out");
        write_world(file, &out).unwrap();
        // It is whole without what it was made from.
        fs::remove_dir_all(&site).unwrap();
        fs::remove_file(&zone).unwrap();
        let plan = check_file(&out.join("cluster.toml")).map_err(|error| error.to_string()).unwrap();
        let served = plan.file.origins["files"].dir.clone().unwrap();
        assert!(served.starts_with(&out) && served.join("deep/a.html").is_file(), "{}", served.display());
        assert!(plan.file.router.zones[0].ends_with("demo.test.zone"), "{:?}", plan.file.router.zones);
        assert_ne!(plan.inputs, Inputs::default());
    }
}
