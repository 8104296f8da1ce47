"""The command `featurestore`: its door, and the verbs that read and look after stores."""
