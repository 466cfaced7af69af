"""The official S3 client over one bucket: makes it, lists it, puts, reads and deletes objects."""

import sys

import boto3
from botocore.config import Config

endpoint, access_key, secret_key, bucket, action, *arguments = sys.argv[1:]
s3 = boto3.client(
    "s3",
    endpoint_url=f"http://{endpoint}",
    aws_access_key_id=access_key,
    aws_secret_access_key=secret_key,
    region_name="us-east-1",
    config=Config(
        s3={"addressing_style": "path"},
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=10,
        retries={"max_attempts": 1},
    ),
)


def keys():
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


if action == "make":
    # A first try whose answer was lost may have made it.
    try:
        s3.create_bucket(Bucket=bucket)
    except (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
        pass
elif action == "list":
    print("\n".join(keys()))
elif action == "put":
    key, text = arguments
    s3.put_object(Bucket=bucket, Key=key, Body=text.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == text.encode()
elif action == "get":
    sys.stdout.buffer.write(s3.get_object(Bucket=bucket, Key=arguments[0])["Body"].read())
else:
    sys.exit(f"unknown action {action}")
