"""boto3 against a world's control port, as a script of somebody's would go: argv is the endpoint and a public key in PEM."""

import sys

import boto3
from botocore.exceptions import ClientError

endpoint, pem = sys.argv[1], open(sys.argv[2], encoding="utf-8").read()
client = boto3.client("cloudfront", endpoint_url=endpoint)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    raise AssertionError(f"{code} was expected")


listed = client.get_paginator("list_distributions").paginate().build_full_result()
assert [row["Id"] for row in listed["DistributionList"]["Items"]] == ["demo"], listed
assert listed["DistributionList"]["Items"][0]["Origins"]["Quantity"] == 2, listed

# Read, change, write back.
answer = client.get_distribution_config(Id="demo")
config, etag = answer["DistributionConfig"], answer["ETag"]
config["DefaultCacheBehavior"]["ViewerProtocolPolicy"] = "redirect-to-https"
assert refused("PreconditionFailed", client.update_distribution, Id="demo", IfMatch="E0", DistributionConfig=config) == 412
assert refused("InvalidIfMatchVersion", client.update_distribution, Id="demo", DistributionConfig=config) == 400
wrong = {**config, "PriceClass": "PriceClass_100"}
assert refused("IllegalUpdate", client.update_distribution, Id="demo", IfMatch=etag, DistributionConfig=wrong) == 400
wrong = {**config, "DefaultRootObject": "/index.html"}
refused("InvalidDefaultRootObject", client.update_distribution, Id="demo", IfMatch=etag, DistributionConfig=wrong)
updated = client.update_distribution(Id="demo", IfMatch=etag, DistributionConfig=config)
assert updated["Distribution"]["Status"] == "InProgress" and updated["ETag"] != etag, updated
client.get_waiter("distribution_deployed").wait(Id="demo", WaiterConfig={"Delay": 1})
now = client.get_distribution(Id="demo")
assert now["ETag"] == updated["ETag"] and now["Distribution"]["DistributionConfig"] == updated["Distribution"]["DistributionConfig"]
try:
    client.get_distribution(Id="NONE")
    raise AssertionError("there is no such distribution")
except client.exceptions.NoSuchDistribution:
    pass

batch = {"Paths": {"Quantity": 1, "Items": ["/*"]}, "CallerReference": "boto3"}
made = client.create_invalidation(DistributionId="demo", InvalidationBatch=batch)["Invalidation"]
client.get_waiter("invalidation_completed").wait(DistributionId="demo", Id=made["Id"], WaiterConfig={"Delay": 1})

# What behaviors may name, as Terraform's data sources ask for it, and tags.
managed = client.list_cache_policies(Type="managed")["CachePolicyList"]
names = {row["CachePolicy"]["CachePolicyConfig"]["Name"]: row["CachePolicy"]["Id"] for row in managed["Items"]}
assert names["Managed-CachingDisabled"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad" and managed["Quantity"] == len(names), names
optimized = client.get_cache_policy(Id=names["Managed-CachingOptimized"])["CachePolicy"]["CachePolicyConfig"]
assert optimized["MinTTL"] == 1, optimized
assert optimized["ParametersInCacheKeyAndForwardedToOrigin"]["CookiesConfig"] == {"CookieBehavior": "none"}, optimized
named = config["DefaultCacheBehavior"]["CachePolicyId"]
assert client.get_cache_policy_config(Id=named)["CachePolicyConfig"]["Name"], "what a behavior names is there"
requests = client.list_origin_request_policies(Type="managed")["OriginRequestPolicyList"]["Items"]
assert "Managed-AllViewer" in [row["OriginRequestPolicy"]["OriginRequestPolicyConfig"]["Name"] for row in requests]
headers = client.get_response_headers_policy(Id="67f7725c-6f97-4210-82d7-5512b31e9d03")["ResponseHeadersPolicy"]
security = headers["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
assert security["ContentTypeOptions"] == {"Override": True}, security
assert security["StrictTransportSecurity"]["AccessControlMaxAgeSec"] == 31536000, security
cors = client.get_response_headers_policy(Id="5cc3b908-e619-4b99-88e5-2cf7f45965bd")["ResponseHeadersPolicy"]
methods = cors["ResponseHeadersPolicyConfig"]["CorsConfig"]["AccessControlAllowMethods"]
assert methods["Quantity"] == 7 and "PUT" in methods["Items"], methods
refused("NoSuchCachePolicy", client.get_cache_policy, Id="none")
users = client.list_distributions_by_cache_policy_id(CachePolicyId=named)["DistributionIdList"]
assert users["Items"] == ["demo"], users
users = client.list_distributions_by_cache_policy_id(CachePolicyId=names["Managed-Amplify"])["DistributionIdList"]
assert users["Quantity"] == 0, users
refused("NoSuchCachePolicy", client.list_distributions_by_cache_policy_id, CachePolicyId="none")
arn = now["Distribution"]["ARN"]
assert client.list_tags_for_resource(Resource=arn)["Tags"]["Items"] == []
tags = [{"Key": "team", "Value": "web"}, {"Key": "tier", "Value": ""}]
client.tag_resource(Resource=arn, Tags={"Items": tags})
client.untag_resource(Resource=arn, TagKeys={"Items": ["tier"]})
assert client.list_tags_for_resource(Resource=arn)["Tags"]["Items"] == tags[:1]

# A key, a group of it, and what each of them may not.
fields = {"CallerReference": "boto3", "Name": "signer", "EncodedKey": pem, "Comment": ""}
key = client.create_public_key(PublicKeyConfig=fields)
identity = key["PublicKey"]["Id"]
assert key["PublicKey"]["PublicKeyConfig"]["EncodedKey"].strip() == pem.strip()
refused("PublicKeyAlreadyExists", client.create_public_key, PublicKeyConfig=fields)
group = client.create_key_group(KeyGroupConfig={"Name": "signers", "Items": [identity]})
refused("PublicKeyInUse", client.delete_public_key, Id=identity, IfMatch=key["ETag"])
found = client.get_key_group_config(Id=group["KeyGroup"]["Id"])
assert found["KeyGroupConfig"]["Items"] == [identity] and found["ETag"] == group["ETag"], found
assert client.list_key_groups()["KeyGroupList"]["Quantity"] == 1
refused("NotImplemented", client.create_distribution, DistributionConfig=config)

# A behavior that trusts it.
answer = client.get_distribution_config(Id="demo")
config = answer["DistributionConfig"]
private = {**config["DefaultCacheBehavior"], "PathPattern": "/private/*", "ViewerProtocolPolicy": "allow-all"}
private["TrustedKeyGroups"] = {"Enabled": True, "Quantity": 1, "Items": [group["KeyGroup"]["Id"]]}
config["CacheBehaviors"] = {"Quantity": 1, "Items": [private]}
client.update_distribution(Id="demo", IfMatch=answer["ETag"], DistributionConfig=config)
client.get_waiter("distribution_deployed").wait(Id="demo", WaiterConfig={"Delay": 1})
active = client.get_distribution(Id="demo")["Distribution"]["ActiveTrustedKeyGroups"]
assert active["Items"][0]["KeyPairIds"]["Items"] == [identity], active
users = client.list_distributions_by_key_group(KeyGroupId=group["KeyGroup"]["Id"])["DistributionIdList"]
assert users["Items"] == ["demo"], users
refused("NoSuchResource", client.list_distributions_by_key_group, KeyGroupId="none")
refused("ResourceInUse", client.delete_key_group, Id=group["KeyGroup"]["Id"], IfMatch=group["ETag"])
print(identity)
