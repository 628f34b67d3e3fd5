"""The main calls of docker-py against the socket that DOCKER_HOST names; the image `bb` is there."""

import faulthandler
import io
import tarfile

import docker

# where it hangs, if it does
faulthandler.dump_traceback_later(45, exit=True)
client = docker.from_env()
assert client.ping()
assert client.version()["ApiVersion"]
assert client.info()["OSType"] == "linux"

# containers: run, exec, logs, stats, files, life
assert client.containers.run("bb", ["echo", "hello"], remove=True) == b"hello\n"
try:
    client.containers.run("bb", ["sh", "-c", "echo no >&2; exit 3"], remove=True)
    raise AssertionError("an exit code of 3 is an error")
except docker.errors.ContainerError as error:
    assert error.exit_status == 3, error
box = client.containers.run(
    "bb", ["sh", "-c", "echo started; exec sleep 600"], detach=True, name="pybox",
    environment={"COLOR": "blue"}, labels={"py": "yes"}, stop_signal="SIGKILL",
)
code, output = box.exec_run(["sh", "-c", "echo $COLOR; exit 4"])
assert (code, output) == (4, b"blue\n"), (code, output)
for line in box.logs(stream=True):
    assert line == b"started\n", line
    break
stats = box.stats(stream=False)
assert stats["pids_stats"]["current"] >= 1
assert any("sleep" in process[-1] for process in box.top()["Processes"])
box.rename("pybox2")
box.reload()
assert box.name == "pybox2" and box.status == "running", (box.name, box.status)

archive = io.BytesIO()
with tarfile.open(fileobj=archive, mode="w") as tar:
    entry = tarfile.TarInfo("note")
    entry.size = 5
    tar.addfile(entry, io.BytesIO(b"there"))
assert box.put_archive("/tmp", archive.getvalue())
chunks, stat = box.get_archive("/tmp/note")
assert stat["name"] == "note" and stat["size"] == 5, stat
with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
    assert tar.extractfile("note").read() == b"there"
try:
    box.get_archive("/nothing")
    raise AssertionError("a missing file is an error")
except docker.errors.NotFound:
    pass

box.pause()
box.unpause()
box.stop(timeout=0)
assert box.wait()["StatusCode"] in (0, 137, 143)
box.start()
box.update(mem_limit="64m", memswap_limit="128m")
assert [found.name for found in client.containers.list(filters={"label": "py"})] == ["pybox2"]
made = box.commit("committed", tag="1")
assert made.tags == ["committed:1"], made.tags

# images: build, tag, history, save, load, remove
context = io.BytesIO()
with tarfile.open(fileobj=context, mode="w") as tar:
    text = b"FROM bb\nARG WORD=none\nLABEL team=py\nRUN echo $WORD > /word\nCMD cat /word\n"
    entry = tarfile.TarInfo("Dockerfile")
    entry.size = len(text)
    tar.addfile(entry, io.BytesIO(text))
context.seek(0)
image, said = client.images.build(fileobj=context, custom_context=True, tag="built:1", buildargs={"WORD": "py"})
said = "".join(line.get("stream", "") for line in said)
assert "Successfully built" in said and "RUN echo" in said, said
assert image.labels["team"] == "py" and image.tags == ["built:1"], image.attrs
assert client.containers.run("built:1", remove=True) == b"py\n"
try:
    client.images.build(fileobj=io.BytesIO(b"FROM bb\nRUN exit 7\n"))
    raise AssertionError("a failing step is an error")
except docker.errors.BuildError as error:
    assert "7" in str(error), error
assert image.tag("built", "2")
assert len(image.history()) >= 2
saved = b"".join(image.save(named=True))
client.images.remove("built:1")
client.images.remove("built:2")
assert "built:1" in client.images.load(saved)[0].tags
assert {"built:1", "committed:1"} <= {tag for image in client.images.list() for tag in image.tags}

# networks and volumes
pool = docker.types.IPAMPool(subnet="10.232.9.0/24")
network = client.networks.create("pynet", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"py": "yes"})
network.connect(box, aliases=["alias"])
assert client.containers.run("bb", ["ping", "-c1", "-W5", "alias"], network="pynet", remove=True)
network.disconnect(box)
network.remove()
volume = client.volumes.create("pyvol", labels={"py": "yes"})
client.containers.run("bb", ["sh", "-c", "echo kept > /v/a"], volumes={"pyvol": {"bind": "/v", "mode": "rw"}}, remove=True)
kept = client.containers.run("bb", ["cat", "/v/a"], volumes={"pyvol": {"bind": "/v", "mode": "ro"}}, remove=True)
assert kept == b"kept\n"
volume.remove()

# events, and a low-level attach
events = client.events(decode=True, filters={"container": box.id, "event": "kill"})
box.kill()
assert next(events)["Action"].startswith("kill")
events.close()
box.remove(force=True)
assert client.containers.prune()["SpaceReclaimed"] >= 0
try:
    client.containers.get("pybox2")
    raise AssertionError("a removed container is an error")
except docker.errors.NotFound:
    pass
print("docker-py", docker.__version__, "is content")
