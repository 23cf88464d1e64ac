//! Users and roles. Comes last: it ends with authentication off again.

use etcd_client::{Client, ConnectOptions, GetOptions, Permission, PermissionType};

use crate::{Outcome, refusal, same};

pub async fn users_and_roles(client: &mut Client, endpoint: &str) -> Outcome {
    client.user_add("root", "secret", None).await?;
    same!(
        refusal(client.user_add("root", "other", None).await),
        "FailedPrecondition: etcdserver: user name already exists"
    );
    client.role_add("root").await?;
    client.user_grant_role("root", "root").await?;
    client.role_add("reader").await?;
    client.role_grant_permission("reader", Permission::read("a/").with_prefix()).await?;
    client.user_add("anna", "pass", None).await?;
    client.user_grant_role("anna", "reader").await?;
    same!(client.user_get("anna").await?.roles(), ["reader"]);
    same!(client.user_list().await?.users(), ["anna", "root"]);
    same!(client.role_list().await?.roles(), ["reader", "root"]);
    let role = client.role_get("reader").await?;
    let permissions = role.permissions();
    same!(permissions.len(), 1);
    same!(permissions[0].get_type(), PermissionType::Read as i32);
    client.put("a/1", "x", None).await?;
    client.put("b/1", "x", None).await?;
    client.auth_enable().await?;

    same!(
        refusal(client.get("a/1", None).await),
        "InvalidArgument: etcdserver: user name is empty"
    );
    let wrong = ConnectOptions::new().with_user("anna", "wrong");
    same!(
        refusal(Client::connect([endpoint], Some(wrong)).await),
        "InvalidArgument: etcdserver: authentication failed, invalid user ID or password"
    );
    let anna = ConnectOptions::new().with_user("anna", "pass");
    let mut anna = Client::connect([endpoint], Some(anna)).await?;
    same!(anna.get("a/1", None).await?.count(), 1);
    let denied = "PermissionDenied: etcdserver: permission denied";
    same!(refusal(anna.get("b/1", None).await), denied);
    same!(refusal(anna.put("a/1", "y", None).await), denied);
    same!(refusal(anna.get("", Some(GetOptions::new().with_all_keys())).await), denied);
    same!(refusal(anna.user_list().await), denied);

    let root = ConnectOptions::new().with_user("root", "secret");
    let mut root = Client::connect([endpoint], Some(root)).await?;
    root.role_grant_permission("reader", Permission::read_write("b/1")).await?;
    same!(anna.get("b/1", None).await?.count(), 1);
    root.role_revoke_permission("reader", "b/1", None).await?;
    same!(refusal(anna.get("b/1", None).await), denied);
    root.user_change_password("anna", "new").await?;
    root.user_revoke_role("anna", "reader").await?;
    root.user_delete("anna").await?;
    root.role_delete("reader").await?;
    root.auth_disable().await?;
    same!(client.get("b/1", None).await?.count(), 1);
    Ok(())
}
