"""Reads the golden vectors as Python's own protobuf does: from the descriptors alone, with no code of ours.

Arguments: a descriptor set and the folder of the vectors. Each vector that is not the JSON beside it is printed, and the exit code
is 1 then.
"""

import json
import pathlib
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory


def types(descriptors: pathlib.Path) -> descriptor_pool.DescriptorPool:
    """Messages of a set; a file comes after those that it imports."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def main() -> int:
    pool = types(pathlib.Path(sys.argv[1]))
    read, wrong = 0, 0
    for path in sorted(pathlib.Path(sys.argv[2]).glob("*/*.hex")):
        message = message_factory.GetMessageClass(pool.FindMessageTypeByName(path.parent.name))()
        message.ParseFromString(bytes.fromhex(path.read_text()))
        expected = json.loads(path.with_suffix(".json").read_text())
        again = type(message).FromString(message.SerializeToString())
        found = json_format.MessageToDict(message, descriptor_pool=pool)
        if found != expected or again != message or json_format.ParseDict(expected, type(message)(), descriptor_pool=pool) != message:
            print(f"{path.parent.name}/{path.stem}: {json.dumps(found, ensure_ascii=False)}")
            wrong += 1
        read += 1
    print(f"vectors read: {read}")
    return 1 if wrong or not read else 0


if __name__ == "__main__":
    sys.exit(main())
