# What a program does that drives the CDN with libcloud: BASE USER KEY EDGE.
import sys
from libcloud.storage.drivers.cloudfiles import CloudFilesConnection, CloudFilesStorageDriver
base, user, key, cdn = sys.argv[1:5]
host, port = base.split("//")[1].split(":")
class Connection(CloudFilesConnection):
    # Only the region and the name of the store are ours; all else is libcloud's.
    def get_endpoint(self):
        kind, name = ("rax:object-cdn", "cloudFilesCDN") if self.cdn_request else ("object-store", "swift")
        return self.service_catalog.get_endpoint(service_type=kind, name=name, region="RegionOne", endpoint_type="external").url
class Driver(CloudFilesStorageDriver):
    connectionCls = Connection
account, name = user.split(":")
d = Driver(name, key, secure=False, ex_force_auth_url=base, ex_force_auth_version="2.0_password", ex_tenant_name=account, region="ord")
c = d.create_container("lib")
assert d.enable_container_cdn(c, ex_ttl=1000)
url = d.get_container_cdn_url(c)
assert url.startswith("http://lib."), url
import tempfile, os
with tempfile.NamedTemporaryFile() as f:
    f.write(b"hello"); f.flush()
    o = d.upload_object(f.name, c, "a")
assert d.get_object_cdn_url(o) == url + "/a"
import urllib.request
r = urllib.request.Request(cdn + "/a", headers={"Host": url[7:]})
assert urllib.request.urlopen(r).read() == b"hello"
assert d.ex_purge_object_from_cdn(o)
print("ok")
