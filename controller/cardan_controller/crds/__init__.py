"""The custom resources: what a user asks for and what the operator says, as structs.

    fleet       InferenceFleet: its specification, which is the core's and what a cluster adds
    status      what the operator says of a fleet
    documents   objects of the API become structs and back
    sections    how values are written
    defaults    what is missing is filled in, as the API server does it

What users install follows from the structs:

    schema      a struct becomes a structural schema
    rules       what a schema cannot say: CEL
    words       a sentence for each field, for `kubectl explain` and the reference
    definitions the CustomResourceDefinitions
    main        `cardan crds`

No second list of fields is kept: a field that is added to a struct is in the resource, or a test
says what is missing.
"""
