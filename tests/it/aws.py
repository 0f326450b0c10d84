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
refused("ResourceInUse", client.delete_key_group, Id=group["KeyGroup"]["Id"], IfMatch=group["ETag"])
print(identity)
