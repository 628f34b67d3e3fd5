//! Plans as text, for states that people meet.
use compose_model::plan::{
    Container, DownOptions, Health, Images, Observed, PlanOptions, Recreate, State, down, plan,
};
use compose_model::{Loader, MemoryFiles, Project};

fn project(text: &str) -> Project {
    let files = MemoryFiles::new().with("/shop/compose.yaml", text);
    Loader::new(&files).load(&["/shop/compose.yaml"]).into_project().unwrap()
}

const SHOP: &str = "
services:
  web: {build: ., depends_on: {db: {condition: service_healthy, restart: true}, migrate: {condition: service_completed_successfully}}}
  migrate: {image: tool, depends_on: [db]}
  db: {image: mysql, volumes: ['data:/var/lib/mysql'], healthcheck: {test: ping}, stop_grace_period: 1m}
volumes: {data: }
";

fn up(project: &Project, there: &mut Observed, options: &PlanOptions) -> String {
    let steps = plan(project, there, options);
    there.apply(&steps);
    steps.to_string()
}

#[test]
fn a_first_up_makes_and_waits_in_the_order_of_dependencies() {
    let mut there = Observed::default();
    assert_eq!(
        up(&project(SHOP), &mut there, &PlanOptions::default()),
        "1. create network shop_default\n\
         2. create volume shop_data\n\
         3. pull mysql\n\
         4. create shop-db-1, after 1, 2, 3\n\
         5. start shop-db-1, after 4\n\
         6. pull tool\n\
         7. create shop-migrate-1, after 1, 6\n\
         8. start shop-migrate-1, after 5, 7\n\
         9. build web as shop-web\n\
         10. create shop-web-1, after 1, 9\n\
         11. wait until db is healthy, after 5\n\
         12. wait until migrate has completed, after 8\n\
         13. start shop-web-1, after 10, 11, 12\n"
    );
}

#[test]
fn a_changed_service_is_made_anew_and_its_dependents_restart() {
    let mut there = Observed::default();
    up(&project(SHOP), &mut there, &PlanOptions::default());
    let changed = project(&SHOP.replace("image: mysql,", "image: mysql, hostname: h,"));
    assert_eq!(
        up(&changed, &mut there, &PlanOptions::default()),
        "1. recreate shop-db-1\n2. start shop-db-1, after 1\n3. wait until db is healthy, after 2\n4. restart shop-web-1, after 3\n"
    );
    let unwanted = PlanOptions { recreate: Recreate::Never, ..PlanOptions::default() };
    assert_eq!(plan(&project(SHOP), &there, &unwanted).to_string(), "");
}

#[test]
fn scaling_up_and_down_touches_only_what_is_missing_or_too_many() {
    let plain = project("services: {web: {image: nginx}}");
    let mut there = Observed::default();
    up(&plain, &mut there, &PlanOptions::default());
    let mut options = PlanOptions::default();
    options.scale.insert("web", 3);
    assert_eq!(
        up(&plain, &mut there, &options),
        "1. create shop-web-2\n2. create shop-web-3\n3. start shop-web-2, after 1\n4. start shop-web-3, after 2\n"
    );
    options.scale.insert("web", 1);
    assert_eq!(
        up(&plain, &mut there, &options),
        "1. stop shop-web-2\n2. remove shop-web-2, after 1\n3. stop shop-web-3\n4. remove shop-web-3, after 3\n"
    );
}

#[test]
fn orphans_are_named_and_go_only_when_asked() {
    let plain = project("services: {web: {image: nginx}}");
    let mut there = Observed::default();
    up(&plain, &mut there, &PlanOptions::default());
    let old = Container {
        id: "x".into(),
        name: "shop-old-1".into(),
        service: "old".into(),
        number: 1,
        state: State::Running,
        ..Container::default()
    };
    there.containers.push(old);
    let steps = plan(&plain, &there, &PlanOptions::default());
    assert!(steps.is_empty());
    assert_eq!(steps.orphans, ["shop-old-1"]);
    let options = PlanOptions { remove_orphans: true, ..PlanOptions::default() };
    assert_eq!(
        plan(&plain, &there, &options).to_string(),
        "1. stop shop-old-1\n2. remove shop-old-1, after 1\n"
    );
}

#[test]
fn an_image_that_was_pulled_anew_makes_its_containers_anew() {
    let plain = project("services: {web: {image: nginx}}");
    let mut there = Observed::default();
    up(&plain, &mut there, &PlanOptions::default());
    there.images.insert("nginx".into(), "newer".into());
    assert_eq!(
        up(&plain, &mut there, &PlanOptions::default()),
        "1. recreate shop-web-1\n2. start shop-web-1, after 1\n"
    );
}

#[test]
fn down_stops_dependents_first_and_removes_what_the_options_say() {
    let shop = project(SHOP);
    let mut there = Observed::default();
    up(&shop, &mut there, &PlanOptions::default());
    let options = DownOptions { volumes: true, images: Images::Local, ..DownOptions::default() };
    assert_eq!(
        down(&shop, &there, &options).to_string(),
        "1. stop shop-web-1\n\
         2. stop shop-db-1, after 1\n\
         3. remove shop-web-1, after 1\n\
         4. remove shop-migrate-1, after 1\n\
         5. remove shop-db-1, after 2\n\
         6. remove network shop_default, after 3, 4, 5\n\
         7. remove volume shop_data, after 3, 4, 5\n\
         8. remove image shop-web, after 3, 4, 5\n"
    );
}

#[test]
fn an_unhealthy_dependency_is_waited_for() {
    let shop = project(SHOP);
    let mut there = Observed::default();
    up(&shop, &mut there, &PlanOptions::default());
    for container in &mut there.containers {
        match container.service.as_str() {
            "db" => container.health = Health::Unhealthy,
            "web" => container.state = State::Exited(1),
            _ => {}
        }
    }
    assert_eq!(
        plan(&shop, &there, &PlanOptions::default()).to_string(),
        "1. wait until db is healthy\n2. start shop-web-1, after 1\n"
    );
}

#[test]
fn a_plan_and_a_project_are_drawn() {
    let shop = project(
        "services: {web: {image: 'a<b>\"c', depends_on: {db: {condition: service_healthy}}}, db: {image: mysql}}",
    );
    assert_eq!(
        shop.graph().to_mermaid(),
        "flowchart LR\n  n0[\"web\"]\n  n1[\"db\"]\n  n1 -->|\"healthy\"| n0\n"
    );
    let dot = "digraph {\n  rankdir=LR;\n  node [shape=box];\n  n0 [label=\"web\"];\n  n1 [label=\"db\"];\n  n1 -> n0 [label=\"healthy\"];\n}\n";
    assert_eq!(shop.graph().to_dot(), dot);
    let graph = plan(&shop, &Observed::default(), &PlanOptions::default()).graph();
    let svg = graph.to_svg();
    assert!(svg.contains("pull a&lt;b&gt;\"c") && !svg.contains("<b>"), "{svg}");
    assert_eq!(svg.matches("<rect").count(), 8);
    assert!(graph.to_mermaid().contains("pull a#lt;b#gt;#quot;c"));
    assert!(graph.to_dot().contains("pull a<b>\\\"c"));
}
