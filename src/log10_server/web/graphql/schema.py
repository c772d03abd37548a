"""What can be asked by GraphQL. Everything has a description, since people read the schema in their explorers.

Root fields may be null, and what may fail inside of them is required there: a fault makes the root field null and leaves
`data` an object, which is what the pytest plugin of `log10-io` relies on (docs/api.md, "The calls of log10-io"). The types form a tree, so no
query can go round in circles: a completion of feedback is its id alone.
"""

SDL = '''
"Read."
type Query {
  "The organization of the token."
  organization(
    "Its id or its slug; may be left out. Naming another organization than the token's is refused with status 403."
    id: String
  ): Organization
}

"Write."
type Mutation {
  "Make a test run. Its report is put to `reportUploadUrl`."
  createTestRun("What the run is." input: CreateTestRunInput!): CreatedTestRun
}

"Any JSON value. It comes back exactly as it was stored: key order, nulls and every digit included."
scalar JSON

"Whose data it is."
type Organization {
  "Its id."
  id: String!
  "Its name in addresses."
  slug: String!
  "Accepted feedback, newest first."
  feedbackV2(
    """
    Only feedback whose values satisfy this: comparisons (`=` `!=` `<` `<=` `>` `>=`) of a field with a number, a string
    in quotes, `true` or `false`, joined by `and`, `or`, `not` and parentheses. Example: `Coverage <= 5 and not flags.spam = true`.
    """
    filter: String
    "Only feedback for this task."
    taskId: String
    "Which page, from 1."
    page: Int = 1
    "How many on a page; more than 10000 means 10000."
    limit: Int = 50
  ): FeedbackPage!
  "A completion; null where there is none of this id."
  completion("Its id." id: String!): Completion
}

"A page of feedback."
type FeedbackPage {
  "Where the page stands."
  pageInfo: PageInfo!
  "The feedback, newest first."
  nodes: [Feedback!]!
}

"Where a page stands among others."
type PageInfo {
  "How many match in all."
  totalCount: Int!
  "Which page this is, from 1."
  currentPage: Int!
  "Whether there is a page behind this one."
  hasNextPage: Boolean!
}

"What somebody or a program says of completions."
type Feedback {
  "Its id."
  id: String!
  "The values, which satisfy the task's schema, as they were given."
  jsonValues: JSON!
  "What its giver adds in words."
  comment: String!
  "When it was stored, in ISO 8601."
  createdAt: String!
  "The feedback task that it answers."
  task: FeedbackTask!
  "The completions that it is about."
  completions: [FeedbackCompletion!]!
}

"What feedback is wanted."
type FeedbackTask {
  "Its id."
  id: String!
  "What it is called."
  name: String!
  "What a reviewer should do."
  instruction: String!
}

"A completion that feedback is about."
type FeedbackCompletion {
  "Its id."
  id: String!
}

"One LLM request and its response."
type Completion {
  "Its id."
  id: String!
  "When its first row arrived, in ISO 8601."
  createdAt: String!
  "How far the call is: `started`, `finished` or `failed`."
  status: String!
  "Its tags, in the order given."
  tags: [String!]!
  "The newest proposal of feedback that nobody has decided on; null where there is none."
  autoFeedback: AutoFeedback
}

"A proposal of feedback. It grades nothing until it is accepted."
type AutoFeedback {
  "Its id."
  id: String!
  "Its state: `proposed`."
  status: String!
  "The values that are proposed, as they were given."
  jsonValues: JSON!
  "What its giver adds in words."
  comment: String!
  "The feedback task that it answers."
  task: FeedbackTask!
}

"What a new test run is."
input CreateTestRunInput {
  "What the session is called."
  name: String!
  "The organization of the token, by id or slug; may be left out."
  organizationId: String
}

"A test run that has been made."
type CreatedTestRun {
  "Its id; `NAME-ID` is the tag of all its completions."
  id: String!
  "What the session is called."
  name: String!
  "Where its report is put, once and without a token: who knows the address has the right. It is shown only now."
  reportUploadUrl: String!
  "When it was made, in ISO 8601."
  createdAt: String!
  "Whose it is."
  organization: TestRunOrganization!
}

"Whose a test run is."
type TestRunOrganization {
  "Its id."
  id: String!
  "Its name in addresses."
  slug: String!
}
'''
