"""The command `featurestore`: its entry point, and the verbs that read and maintain stores."""
