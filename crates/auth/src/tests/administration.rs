//! The administration of users and roles: who may do it, what nobody may do, and that it counts at once.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use portcullis_audit::Action;
use portcullis_config::auth::RoleScopes;
use serde_json::{Value, json};

use super::{Answer, House, request};

const PASSWORD: &str = "a horse of no particular colour";
const ROLES: &str = "/v1/admin/roles";
const USERS: &str = "/v1/admin/users";

/// Beside the demo's users: `keeper`, who administers, and has what the hotel needs and nothing else.
async fn house() -> House {
    let house = House::open_with(|config| {
        let keeper = [
            "users:read",
            "users:write",
            "roles:write",
            "hotel:read",
            "hotel:write",
            "event:read",
        ];
        let keeper = keeper.map(str::to_owned).to_vec();
        config
            .roles
            .insert("keeper".to_owned(), RoleScopes::These(keeper));
    })
    .await
    .with_demo_users()
    .await;
    house.add_user("keeper", "1234", "keeper").await;
    house
}

impl House {
    async fn keeper(&self) -> String {
        self.token("keeper", "1234", "portcullis").await
    }

    async fn id_of(&self, name: &str) -> String {
        let found = self.service.store.user_by_login(name).await.unwrap();
        found.unwrap().0.id
    }

    async fn ask(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Answer {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request(method, path, Some(token), body)).await
    }

    async fn grant(&self, token: &str, user: &str, body: Value) -> Answer {
        let path = format!("{USERS}/{}/roles", self.id_of(user).await);
        self.post(&path, Some(token), body).await
    }

    async fn take(&self, token: &str, user: &str, role: &str) -> Answer {
        let path = format!("{USERS}/{}/roles/{role}", self.id_of(user).await);
        self.ask(Method::DELETE, &path, token, None).await
    }

    async fn role(&self, token: &str, name: &str, scopes: &[&str]) -> Answer {
        let body = json!({"name": name, "scopes": scopes});
        self.post(ROLES, Some(token), body).await
    }
}

async fn admin(house: &House) -> String {
    house.token("admin", "admin", "portcullis").await
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status.as_u16(), &*answer.problem()),
        (status, code),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn a_role_made_at_run_time_counts_with_the_next_token_and_the_old_one_is_refused() {
    let house = house().await;
    let admin = admin(&house).await;
    let made = house.role(&admin, "night", &["hotel:write"]).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(
        (&made.json()["scopes"], &made.json()["source"]),
        (&json!(["hotel:write"]), &json!("database"))
    );
    let before = house.token("saad", "1234", "hotel").await;
    let granted = house.grant(&admin, "saad", json!({"role": "night"})).await;
    assert_eq!(granted.json()["roles"], json!(["guest", "night"]));
    refused(
        &house.get("/v1/auth/me", Some(&before)).await,
        401,
        "invalid-token",
    );
    let scope = async || {
        let body = json!({"username": "saad", "password": "1234", "resource": "hotel"});
        house.log_in(body).await.json()["scope"].clone()
    };
    assert_eq!(scope().await, "hotel:read hotel:write");

    let before = house.token("saad", "1234", "hotel").await;
    let night = format!("{ROLES}/night");
    let emptied = house
        .ask(Method::PATCH, &night, &admin, Some(json!({"scopes": []})))
        .await;
    assert_eq!(emptied.json()["scopes"], json!([]), "{}", emptied.text);
    refused(
        &house.get("/v1/auth/me", Some(&before)).await,
        401,
        "invalid-token",
    );
    assert_eq!(scope().await, "hotel:read");

    let held = house.ask(Method::DELETE, &night, &admin, None).await;
    refused(&held, 409, "conflict");
    assert_eq!(house.take(&admin, "saad", "night").await.status, 200);
    let deleted = house.ask(Method::DELETE, &night, &admin, None).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    refused(
        &house.get(&night, Some(&admin)).await,
        404,
        "route-not-found",
    );
}

#[tokio::test]
async fn roles_of_the_file_are_listed_beside_the_others_and_stay_as_they_are() {
    let house = house().await;
    let admin = admin(&house).await;
    for name in ["night", "Zulu", "b"] {
        house.role(&admin, name, &["hotel:read"]).await;
    }
    let mut names = Vec::new();
    let mut path = format!("{ROLES}?limit=3");
    loop {
        let page = house.get(&path, Some(&admin)).await.json();
        let roles = page["roles"].as_array().unwrap().clone();
        names.extend(
            roles
                .iter()
                .map(|role| role["name"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => path = format!("{ROLES}?limit=3&after={next}"),
            None => break,
        }
    }
    assert_eq!(
        names,
        [
            "Zulu", "admin", "b", "clerk", "guest", "keeper", "night", "staff"
        ]
    );
    let shown = house.get(&format!("{ROLES}/admin"), Some(&admin)).await;
    assert_eq!(
        (&shown.json()["scopes"], &shown.json()["source"]),
        (&json!(["*"]), &json!("file"))
    );
    let guest = format!("{ROLES}/guest");
    let change = Some(json!({"scopes": ["hotel:write"]}));
    refused(
        &house.ask(Method::PATCH, &guest, &admin, change).await,
        409,
        "conflict",
    );
    refused(
        &house.ask(Method::DELETE, &guest, &admin, None).await,
        409,
        "conflict",
    );
    refused(&house.role(&admin, "guest", &[]).await, 409, "conflict");
}

#[tokio::test]
async fn a_role_that_would_be_taken_for_something_else_is_not_made() {
    let house = house().await;
    let admin = admin(&house).await;
    house.role(&admin, "night", &["hotel:read"]).await;
    for (name, scopes, status) in [
        // Named like a scope, with a colon and without; twice; of the file.
        ("hotel:read", &["hotel:read"][..], 400),
        ("night", &["hotel:read"], 409),
        ("staff", &["hotel:read"], 409),
        // Roles hold no roles, so that no circle can be made of them.
        ("day", &["night"], 400),
        ("day", &["day"], 400),
        // Not declared, misspelt, all.
        ("day", &["hotel:reed"], 400),
        ("day", &["Hotel:read"], 400),
        ("day", &["*"], 400),
        ("day", &["hotel:read hotel:write"], 400),
        ("day", &[""], 400),
        // Not a name.
        ("", &[], 400),
        ("..", &[], 400),
        ("a b", &[], 400),
        ("a/b", &[], 400),
        ("nächte", &[], 400),
    ] {
        let answer = house.role(&admin, name, scopes).await;
        assert_eq!(answer.status.as_u16(), status, "{name:?} {scopes:?}");
    }
    let created = house.audit_of(Action::RoleCreated).await;
    assert_eq!(created.len(), 1, "{created:?}");
}

#[tokio::test]
async fn a_role_is_not_named_like_a_scope_without_a_colon() {
    let house = House::open_with(|config| {
        let hotel = config.resources.get_mut("hotel").unwrap();
        hotel.scopes.push("porter".to_owned());
    })
    .await
    .with_demo_users()
    .await;
    let admin = admin(&house).await;
    refused(&house.role(&admin, "porter", &[]).await, 409, "conflict");
}

#[tokio::test]
async fn without_the_scope_and_the_resource_nothing_is_administered() {
    let house = house().await;
    let saad = house.id_of("saad").await;
    house.add_user("clerk", "1234", "clerk").await;
    let tokens = [
        (house.token("saad", "1234", "hotel").await, "wrong-resource"),
        (
            house.token("admin", "admin", "hotel").await,
            "wrong-resource",
        ),
        (
            house.token("clerk", "1234", "portcullis").await,
            "insufficient-scope",
        ),
    ];
    let user = format!("{USERS}/{saad}");
    let writes = [
        (
            Method::POST,
            USERS.to_owned(),
            json!({"username": "new", "password": PASSWORD}),
        ),
        (Method::PATCH, user.clone(), json!({"tenant": "acme"})),
        (Method::DELETE, user.clone(), json!({})),
        (Method::POST, format!("{user}/disable"), json!({})),
        (Method::POST, format!("{user}/enable"), json!({})),
        (
            Method::POST,
            format!("{user}/roles"),
            json!({"role": "staff"}),
        ),
        (Method::DELETE, format!("{user}/roles/guest"), json!({})),
        (
            Method::POST,
            ROLES.to_owned(),
            json!({"name": "night", "scopes": []}),
        ),
        (
            Method::PATCH,
            format!("{ROLES}/night"),
            json!({"scopes": []}),
        ),
        (Method::DELETE, format!("{ROLES}/night"), json!({})),
    ];
    for (method, path, body) in writes {
        for (token, code) in &tokens {
            let answer = house
                .ask(method.clone(), &path, token, Some(body.clone()))
                .await;
            refused(&answer, 403, code);
        }
    }
    let profile = house.get(&user, Some(&tokens[2].0)).await.json();
    assert_eq!(
        (&profile["roles"], &profile["tenant"], &profile["disabled"]),
        (&json!(["guest"]), &Value::Null, &json!(false))
    );
}

#[tokio::test]
async fn nobody_gives_more_than_is_their_own() {
    let house = house().await;
    let keeper = house.keeper().await;
    let forbidden = async |answer: Answer| refused(&answer, 403, "insufficient-scope");
    // What is one's own can be given: by a role of the file, by a new one, to a new user.
    assert_eq!(
        house.role(&keeper, "night", &["hotel:write"]).await.status,
        201
    );
    let granted = house.grant(&keeper, "saad", json!({"role": "night"})).await;
    assert_eq!(granted.status, 200, "{}", granted.text);
    // More cannot: neither to others nor to oneself, nor within a tenant, nor through a role.
    forbidden(
        house
            .grant(&keeper, "keeper", json!({"role": "admin"}))
            .await,
    )
    .await;
    forbidden(house.grant(&keeper, "saad", json!({"role": "staff"})).await).await;
    forbidden(
        house
            .grant(&keeper, "saad", json!({"role": "staff", "tenant": "acme"}))
            .await,
    )
    .await;
    forbidden(house.role(&keeper, "sly", &["keys:rotate"]).await).await;
    let widened = house
        .ask(
            Method::PATCH,
            &format!("{ROLES}/night"),
            &keeper,
            Some(json!({"scopes": ["hotel:write", "keys:rotate"]})),
        )
        .await;
    forbidden(widened).await;
    let new = json!({"username": "new", "password": PASSWORD, "roles": ["guest", "admin"]});
    forbidden(house.post(USERS, Some(&keeper), new).await).await;
    // And a role that has come to hold more is out of reach.
    let admin = admin(&house).await;
    house.role(&admin, "treasury", &["keys:rotate"]).await;
    let treasury = format!("{ROLES}/treasury");
    let emptied = Some(json!({"scopes": []}));
    forbidden(house.ask(Method::PATCH, &treasury, &keeper, emptied).await).await;
    forbidden(house.ask(Method::DELETE, &treasury, &keeper, None).await).await;
    let denied = house.audit_of(Action::AccessDenied).await;
    assert!(
        denied
            .iter()
            .any(|row| row.actor.name.as_deref() == Some("keeper")),
        "{denied:?}"
    );
}

#[tokio::test]
async fn who_has_more_is_out_of_reach() {
    let house = house().await;
    let keeper = house.keeper().await;
    let admin = format!("{USERS}/{}", house.id_of("admin").await);
    for (method, path, body) in [
        (Method::POST, format!("{admin}/disable"), None),
        (Method::POST, format!("{admin}/enable"), None),
        (
            Method::PATCH,
            admin.clone(),
            Some(json!({"display_name": "Nobody"})),
        ),
        (Method::DELETE, admin.clone(), None),
        (Method::DELETE, format!("{admin}/roles/admin"), None),
        (
            Method::POST,
            format!("{admin}/roles"),
            Some(json!({"role": "guest"})),
        ),
    ] {
        let answer = house.ask(method, &path, &keeper, body).await;
        refused(&answer, 403, "insufficient-scope");
    }
}

#[tokio::test]
async fn the_last_administrator_cannot_be_removed_by_anybody_in_any_way() {
    let house = House::open().await.with_demo_users().await;
    let token = admin(&house).await;
    let admin = format!("{USERS}/{}", house.id_of("admin").await);
    for (method, path, body) in [
        (Method::POST, format!("{admin}/disable"), None),
        (Method::DELETE, admin.clone(), None),
        (Method::DELETE, format!("{admin}/roles/admin"), None),
        (
            Method::PATCH,
            admin.clone(),
            Some(json!({"tenant": "acme"})),
        ),
    ] {
        refused(
            &house.ask(method, &path, &token, body).await,
            409,
            "conflict",
        );
    }
    assert_eq!(
        house.get(&admin, Some(&token)).await.status,
        200,
        "the token is as good as before"
    );
    house.add_user("second", "1234", "admin").await;
    let gone = house.ask(Method::DELETE, &admin, &token, None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
    refused(&house.get(&admin, Some(&token)).await, 401, "invalid-token");
}

#[tokio::test]
async fn a_user_is_made_with_roles_and_tenant_and_deleted_with_its_tokens() {
    let house = house().await;
    let admin = admin(&house).await;
    let new = json!({
        "username": "new", "email": "new@example.com", "password": PASSWORD,
        "roles": ["staff"], "tenant": "acme",
    });
    let made = house.post(USERS, Some(&admin), new.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let user = made.json();
    assert_eq!(user["grants"], json!([{"role": "staff", "tenant": null}]));
    assert_eq!(user["tenant"], "acme");
    assert!(user.get("access_token").is_none(), "{user}");
    refused(&house.post(USERS, Some(&admin), new).await, 409, "conflict");
    let by_default = json!({"username": "other", "password": PASSWORD});
    let other = house.post(USERS, Some(&admin), by_default).await.json();
    assert_eq!(other["roles"], json!(["guest"]));
    let weak = json!({"username": "third", "password": "1234"});
    refused(
        &house.post(USERS, Some(&admin), weak).await,
        422,
        "weak-password",
    );
    let token = house.token("new", PASSWORD, "hotel").await;
    let path = format!("{USERS}/{}", user["id"].as_str().unwrap());
    let deleted = house.ask(Method::DELETE, &path, &admin, None).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    refused(
        &house.get("/v1/auth/me", Some(&token)).await,
        401,
        "invalid-token",
    );
    refused(
        &house.get(&path, Some(&admin)).await,
        404,
        "route-not-found",
    );
    let again = house.ask(Method::DELETE, &path, &admin, None).await;
    refused(&again, 404, "route-not-found");
    let row = house.audit_of(Action::UserDeleted).await.pop().unwrap();
    assert_eq!(row.actor.name.as_deref(), Some("admin"));
    assert_eq!(row.target.unwrap().name.as_deref(), Some("new"));
}

#[tokio::test]
async fn a_field_that_is_not_ones_to_write_is_refused_and_nothing_is_written() {
    let house = house().await;
    let admin = admin(&house).await;
    let user = format!("{USERS}/{}", house.id_of("saad").await);
    for (method, path, body) in [
        (
            Method::PATCH,
            "/v1/users/me".to_owned(),
            json!({"roles": ["admin"], "ver": 0}),
        ),
        (
            Method::PATCH,
            "/v1/users/me".to_owned(),
            json!({"display_name": "S", "tenant": "acme"}),
        ),
        (Method::PATCH, user.clone(), json!({"roles": ["admin"]})),
        (
            Method::PATCH,
            user.clone(),
            json!({"tenant": "acme", "version": 0}),
        ),
        (Method::PATCH, user.clone(), json!({"tenant": "../etc"})),
        (Method::PATCH, user.clone(), json!({"tenant": ""})),
        (Method::PATCH, user.clone(), json!({"display_name": " S"})),
        (
            Method::POST,
            format!("{user}/roles"),
            json!({"role": "staff", "until": 0}),
        ),
        (
            Method::POST,
            format!("{user}/roles"),
            json!({"role": "staff", "tenant": "a/b"}),
        ),
        (
            Method::POST,
            format!("{user}/roles"),
            json!({"role": ["staff"]}),
        ),
        (
            Method::POST,
            ROLES.to_owned(),
            json!({"name": "n", "scopes": [], "source": "file"}),
        ),
        (
            Method::POST,
            USERS.to_owned(),
            json!({"username": "n", "password": PASSWORD, "disabled": false}),
        ),
        (
            Method::POST,
            USERS.to_owned(),
            json!({"username": "n", "password": PASSWORD, "roles": ["nothing"]}),
        ),
    ] {
        let answer = house.ask(method, &path, &admin, Some(body.clone())).await;
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text);
        assert_eq!(answer.problem(), "malformed-request");
    }
    let unchanged = house.get(&user, Some(&admin)).await.json();
    assert_eq!(
        (&unchanged["roles"], &unchanged["tenant"]),
        (&json!(["guest"]), &Value::Null)
    );
}

#[tokio::test]
async fn what_the_path_names_must_be_there() {
    let house = house().await;
    let admin = admin(&house).await;
    let nobody = format!("{USERS}/0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a59");
    let saad = format!("{USERS}/{}", house.id_of("saad").await);
    for (method, path, body) in [
        (Method::GET, nobody.clone(), None),
        (
            Method::PATCH,
            nobody.clone(),
            Some(json!({"tenant": "acme"})),
        ),
        (Method::POST, format!("{nobody}/disable"), None),
        (
            Method::POST,
            format!("{nobody}/roles"),
            Some(json!({"role": "staff"})),
        ),
        (
            Method::POST,
            format!("{saad}/roles"),
            Some(json!({"role": "nothing"})),
        ),
        (Method::DELETE, format!("{saad}/roles/staff"), None),
        (
            Method::DELETE,
            format!("{saad}/roles/guest?tenant=acme"),
            None,
        ),
        (Method::GET, format!("{USERS}/1%20OR%201=1"), None),
        (Method::GET, format!("{ROLES}/'%20OR%20''='"), None),
        (
            Method::PATCH,
            format!("{ROLES}/nothing"),
            Some(json!({"scopes": []})),
        ),
        (Method::DELETE, format!("{ROLES}/nothing"), None),
    ] {
        let answer = house.ask(method.clone(), &path, &admin, body).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_program_administers_within_its_own_scopes() {
    let house = house().await;
    let program = super::clients::Program::add(
        &house,
        "hr",
        &["users:read", "users:write", "hotel:read", "event:read"],
    )
    .await;
    let token = program.token_with(&house, "&resource=portcullis").await;
    let new = json!({"username": "new", "password": PASSWORD});
    let made = house.post(USERS, Some(&token), new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let more = house.grant(&token, "new", json!({"role": "staff"})).await;
    refused(&more, 403, "insufficient-scope");
    let row = house.audit_of(Action::UserCreated).await.pop().unwrap();
    assert_eq!(
        (&*row.actor.kind, row.actor.name.as_deref()),
        ("client", Some("hr"))
    );
}
